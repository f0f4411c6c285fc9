"""The way of a prompt that docs/architecture.md describes is the way that it goes."""

import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from text2latent.inference.conditions import Conditions
from text2latent.inference.query import Query
from text2latent.inference.result import Draw
from text2latent.tests.pictures import TEXT, Infer

ROOT = Path(__file__).resolve().parents[1]
CARRIERS = (Query, Conditions, Draw)


def described_way() -> list[str]:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.split("## A prompt on its way to a picture")[1].split("##")[0]
    return re.findall(r"^\d+\. `([\w/.]+)`", section, re.MULTILINE)


def carries(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(carries, value))
    return isinstance(value, CARRIERS)


def test_the_way_is_at_most_nine_files_long_and_they_are_there() -> None:
    way = described_way()
    assert way[0] == "infer.py"
    assert 1 < len(way) == len(set(way)) <= 9
    assert all((ROOT / name).is_file() for name in way)


def test_nothing_off_the_way_handles_what_carries_a_prompt(run_infer: Infer) -> None:
    handled: set[str] = set()

    def watch(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(ROOT)) and "/tests/" not in code.co_filename:
            given = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            if any(carries(frame.f_locals.get(name)) for name in given):
                handled.add(str(Path(code.co_filename).relative_to(ROOT)))

    sys.setprofile(watch)
    try:
        assert run_infer("--text", TEXT, "--output", "a.png")[0] == 0
    finally:
        sys.setprofile(None)
    assert {
        f"inference/{name}.py" for name in ("query", "drawing", "base", "conditions", "result", "writing")
    } <= handled
    assert handled <= set(described_way())
