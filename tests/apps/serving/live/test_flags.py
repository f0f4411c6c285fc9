"""The live flags of `text2latent serve`: what they refuse in one line, and a server that is steered from outside."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from text2latent.apps.serving import command as serve
from text2latent.common.extras import install_hint
from text2latent.tests.apps.serving.command import serving_command

pytest.importorskip("fastapi", reason="fastapi of the extra [serve] is not installed")
pytest.importorskip("pythonosc", reason="python-osc of the extra [live] is not installed")
httpx = pytest.importorskip("httpx")

from pythonosc.udp_client import SimpleUDPClient  # noqa: E402

from text2latent.tests.apps.serving.live.reading import PATIENCE, events, mjpeg, until  # noqa: E402

SHARED = re.compile(r"live pictures: (http://\S+)/live\.mjpg; OSC: udp 127\.0\.0\.1 port (\d+)$")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--osc", "65536"], "--osc"),
        (["--osc", "-1"], "--osc"),
        (["--osc", "ten"], "--osc"),
        (["--fps", "0"], "--fps"),
        (["--fps", "nan"], "--fps"),
        (["--max-streams", "0"], "--max-streams"),
        (["--live-edit", "a/b", "x", "y"], "--live-edit: expected a name of up to 40 letters"),
        (["--live-edit", "a", "x"], "--live-edit"),
        (["--live-prompt", " "], "--live-prompt: prompt ' '"),
        (["--live-prompt", "x" * 1001], "--live-prompt: prompt: expected at most 1000 characters, got 1001"),
    ],
)
def test_wrong_flags_are_one_line(flags: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main(["--port", "0", "--no-page", *flags]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert expected in error


def test_a_port_that_is_taken_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert serve.main(["--port", "0", "--no-page", "--osc", str(port)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(rf"--osc: cannot listen on 127\.0\.0\.1, port {port}: .+; expected a free port", error)


@pytest.mark.parametrize(
    ("flags", "module", "extra"), [(("--osc", "0"), "pythonosc", "live"), (("--camera",), "pyvirtualcam", "camera")]
)
def test_without_the_package_it_says_how_to_get_it(
    flags: tuple[str, ...],
    module: str,
    extra: str,
    without_package: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    without_package(module)
    assert serve.main(["--port", "0", "--no-page", *flags]) == 1
    error = capsys.readouterr().err
    assert f"{flags[0]} needs {module}, not installed here; {install_hint(extra)}" in error
    assert error.count("\n") == 1


def test_it_is_steered_over_udp_until_ctrl_c(tiny_model: Path) -> None:
    flags = ("--model", f"mine={tiny_model}", "--device", "cpu", "--port", "0", "--no-page")
    live = ("--osc", "0", "--live-prompt", "a man", "--live-edit", "hat", "a man", "a man with a hat")
    with (
        serving_command("-m", "text2latent", "serve", *flags, *live) as (address, process),
        httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False) as client,
    ):
        assert process.stdout is not None
        found = SHARED.search(process.stdout.readline().strip())
        assert found
        assert found[1] == address
        tool = SimpleUDPClient("127.0.0.1", int(found[2]))

        def state() -> Any:
            return client.patch("/v1/stream/live", json={}).json()["state"]

        assert state()["prompt"] == "a man"
        with mjpeg(client) as reader, events(client, prompt="a woman") as coming:
            assert next(reader).size == (32, 32)
            assert next(coming)[1]["edits"] == ["hat"]
            for path, value in (("/prompt", "an old man"), ("/seed", 4.0), ("/edit/hat", 1.0), ("/mix", "half")):
                tool.send_message(path, value)
            until(lambda: (state()["prompt"], state()["seed"]) == ("an old man", 4), "messages don't arrive")
            until(lambda: state()["edits"] == {"hat": 1.0}, "edits don't arrive")
            next(reader)
            # Ctrl-C comes while both are being read.
            process.send_signal(2)
            assert process.wait(PATIENCE) == 130
    assert process.stderr is not None
    lines = process.stderr.read().strip().splitlines()
    assert lines[0] == "text2latent serve: warning: osc: /mix: expected a number, got 'half'"
    assert lines[-1].endswith("the server has stopped")
    assert not any("Traceback" in line for line in lines), lines
