"""`text2latent serve` as a command: it answers until Ctrl-C, and says in one line what is wrong."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from text2latent.apps.serving import command as serve
from text2latent.apps.serving.limits import Batching, Limits
from text2latent.common.extras import install_hint
from text2latent.tests.apps.serving.command import serving_command

pytest.importorskip("fastapi", reason="fastapi of the extra [serve] is not installed")
httpx = pytest.importorskip("httpx")

TOKEN = "long-enough"


def test_it_answers_until_ctrl_c(tiny_model: Path) -> None:
    flags = ("--model", f"mine={tiny_model}", "--device", "cpu", "--port", "0", "--no-page", "--max-images", "2")
    command = ("-m", "text2latent", "serve", *flags)
    with serving_command(*command, TEXT2LATENT_TOKEN=TOKEN) as (address, process):
        client = httpx.Client(base_url=address, timeout=600, trust_env=False)
        assert client.get("/health").json()["status"] == "ok"
        assert client.post("/v1/images", json={"prompt": "a man"}).status_code == 401
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        report = client.post("/v1/images", json={"prompt": "a man", "n": 2, "seed": 3}).json()
        assert ([image["seed"] for image in report["data"]], report["model"]) == ([3, 4], "mine")
        assert client.post("/v1/images", json={"prompt": "a man", "n": 3}).status_code == 400
        assert client.get("/").status_code == 404
        client.close()
    assert address.startswith("http://127.0.0.1:")
    assert process.returncode == 130
    assert process.stderr is not None
    assert process.stderr.read().strip().splitlines()[-1].endswith("the server has stopped")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--model", "/nowhere/model"], "--model: expected a zoo name"),
        (["--model", "faces", "--model", "faces"], "--model: expected names that differ, got 'faces' twice"),
        (["--token", "short"], "--token: expected at least 8 characters"),
        (["--token", "with spaces in it"], "--token: expected at least 8 characters"),
        (["--root-path", "draw/"], "--root-path: expected a prefix such as /draw, got 'draw/'"),
        (["--allowed-hosts", "http://art.example"], "--allowed-hosts: expected names such as art.example"),
        (["--port", "65536"], "--port"),
        (["--max-waiting-per-client", "0"], "--max-waiting-per-client"),
        (["--batch-size", "0"], "--batch-size"),
        (["--max-wait", "-1"], "--max-wait"),
        (["--max-upload", "0"], "--max-upload"),
        (["--device", "abacus"], "--device"),
    ],
)
def test_wrong_flags_are_one_line(flags: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main(["--port", "0", "--no-page", *flags]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert expected in error
    assert "short" not in error


def test_addresses_that_cannot_be_used_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.listen()
        port = str(taken.getsockname()[1])
        assert serve.main(["--no-page", "--port", port]) == 1
    error = capsys.readouterr().err
    assert re.search(rf"--port: cannot listen on 127\.0\.0\.1, port {port}: .+; expected a free port", error)
    assert serve.main(["--no-page", "--host", "no.such.host.invalid"]) == 1
    assert "--host: expected an address or name of this machine, got 'no.such.host.invalid'" in capsys.readouterr().err


@pytest.mark.parametrize(("flags", "missing"), [((), "gradio"), (("--no-page",), "fastapi")])
def test_without_the_extra_it_says_how_to_get_it(
    flags: tuple[str, ...], missing: str, without_package: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    without_package(missing)
    assert serve.main([*flags]) == 1
    error = capsys.readouterr().err
    assert f"serve needs {missing}, not installed here; {install_hint('serve')}" in error


def test_flags_become_limits_and_batching() -> None:
    parser = serve.build_parser()
    default = parser.parse_args([])
    assert (default.host, default.port, default.token) == ("127.0.0.1", 7860, None)
    assert (serve.read_limits(default), serve.read_batching(default)) == (Limits(), Batching())
    flags = "--max-images 3 --max-prompt 40 --max-upload 0.5 --max-megapixels 2 --batch-size 5 --max-wait 7"
    config = parser.parse_args([*flags.split(), "--max-waiting", "9", "--max-waiting-per-client", "3"])
    assert serve.read_limits(config) == Limits(
        max_images=3, max_prompt_characters=40, max_upload_bytes=2**19, max_upload_pixels=2_000_000
    )
    assert serve.read_batching(config) == Batching(5, 0.007, 9, max_of_client=3)


@pytest.mark.parametrize("is_guarded", [True, False])
def test_a_server_open_to_everyone_is_warned_of(
    is_guarded: bool, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from text2latent.apps.serving.engine import Engine

    with Engine([f"tiny={tiny_model}"]) as engine:
        serve.announce(engine, "http://host:1", is_guarded)
    shown = capsys.readouterr()
    assert shown.out.startswith("text2latent serve: http://host:1 draws with tiny; API: http://host:1/docs")
    assert ("--token asks for a token" in shown.err) == (not is_guarded)
