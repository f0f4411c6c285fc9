"""The part of the page on serving about live pictures: its commands, tables and messages are those of the server."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.limits import Limits
from text2latent.apps.serving.live.changes import Change
from text2latent.apps.serving.live.edits import own_edits
from text2latent.apps.serving.live.stage import Stage
from text2latent.tests.apps.serving.conftest import serving
from text2latent.tests.documentation.pages import ROOT, commands_of

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi", reason="fastapi of the extra [serve] is not installed")
pytest.importorskip("pythonosc", reason="python-osc of the extra [live] is not installed")

from pythonosc.osc_message_builder import OscMessageBuilder  # noqa: E402

from text2latent.apps.serving.live.osc import NUMBERS, TEXTS, change_of  # noqa: E402
from text2latent.apps.serving.live.streams import stream_change, stream_query  # noqa: E402

PAGE = ROOT / "docs" / "serving.md"
TEXT = PAGE.read_text(encoding="utf-8").partition("\n## Live\n")[2].partition("\n## Limits\n")[0]
EVENTS = ("stream", "frame")


@pytest.fixture(scope="module")
def address(faces_engine: Engine) -> Iterator[str]:
    with Stage(faces_engine).closing() as stage:
        stage.share(Change("a man"), pytest.fail)
        with serving(faces_engine, page=False, stage=stage) as address:
            yield address


def typed(beginning: str) -> list[str]:
    """The words of the page's one command that begins so."""
    (command,) = (command for command in commands_of(PAGE) if command.startswith(beginning))
    return shlex.split(command)


def test_the_stream_that_is_asked_for_comes(address: str) -> None:
    url = typed("curl -N")[2].replace("http://127.0.0.1:7860", address)
    with httpx.stream("GET", url, timeout=120, trust_env=False) as answer:
        assert answer.status_code == 200
        lines = (line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: "))
        first, second = (json.loads(next(lines)) for _ in EVENTS)
    assert {"id", "edits"} <= set(first)
    assert {"b64_json", "number", "state", "is_moving"} <= set(second)
    assert (second["state"]["mix_prompt"], second["state"]["seed"]) == ("old man", 5)


def test_the_change_that_is_asked_for_is_made(address: str) -> None:
    words = typed("curl -X PATCH")
    headers = dict([words[words.index("-H") + 1].split(": ")])
    body = words[words.index("-d") + 1]
    url = words[3].replace("http://127.0.0.1:7860", address)
    answer = httpx.patch(url, content=body, headers=headers, timeout=120, trust_env=False)
    assert answer.status_code == 200
    assert {**answer.json()["state"], **json.loads(body)} == answer.json()["state"]


def rows(head: str) -> list[list[str]]:
    """The rows of the table whose first column is called so."""
    table = TEXT.partition(f"| {head} |")[2].partition("\n\n")[0]
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def test_all_parameters_are_told() -> None:
    told = {name for row in rows("parameter") for name in re.findall(r"`(\w+)`", row[0])}
    assert told == {*stream_query(Limits()).model_fields, *stream_change(Limits()).model_fields} - {"edit"}


def test_all_messages_are_told_and_examples_and_types_are_taken() -> None:
    table = rows("OSC address")
    assert {row[0].strip("`") for row in table} == {*TEXTS, *NUMBERS, "/seed", "/edit/NAME"}
    for _, types, _, example in table:
        path, text = shlex.split(example.strip("` "))
        for kind in re.findall(r"\b[a-z]\b", types):
            builder = OscMessageBuilder(path)
            builder.add_arg(*_value(text, kind))
            change_of(builder.build().dgram).check(Limits(), ("smile",))


def _value(text: str, kind: str) -> tuple[Any, str]:
    """An example's value of a type; where it is no whole number, 1 for types that know only these."""
    if kind == "s":
        return text, kind
    number = float(text)
    return (number, kind) if kind in "fd" else (int(number) if number.is_integer() else 1, kind)


def test_the_faces_edits_are_told() -> None:
    told = re.search(r"The faces have the edits (.*?);", TEXT)
    assert told
    assert re.findall(r"`(\w+)`", told[1]) == list(own_edits("faces"))


def test_what_python_sends_is_taken() -> None:
    sent = re.findall(r'tool\.send_message\("([^"]+)", ("[^"]*"|[\d.]+)\)', TEXT)
    assert len(sent) == 2
    for path, value in sent:
        builder = OscMessageBuilder(path)
        builder.add_arg(json.loads(value))
        change_of(builder.build().dgram).check(Limits(), ("smile",))
