"""Errors of other libraries, on one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2latent.common.errors import named_line, one_line


@given(st.text(), st.integers(1, 50))
def test_any_text_is_one_line_of_limited_length(text: str, limit: int) -> None:
    line = one_line(ValueError(text), limit)
    assert len(line.splitlines()) == 1
    assert len(line) <= max(limit + len("..."), len("ValueError"))


@pytest.mark.parametrize(
    ("error", "line", "named"),
    [
        (ValueError("a\n  b"), "a b", "ValueError: a b"),
        (ValueError(" \n"), "ValueError", "ValueError"),
        (KeyError(), "KeyError", "KeyError"),
        (ValueError("\x1b[1;31mREPORT\x1b[0m of 帽子\x07"), "REPORT of 帽子", "ValueError: REPORT of 帽子"),
    ],
)
def test_an_error_without_a_text_gives_its_kind(error: Exception, line: str, named: str) -> None:
    assert (one_line(error), named_line(error)) == (line, named)


def test_what_is_cut_is_marked_and_none_is_no_limit() -> None:
    assert one_line("x" * 301) == "x" * 300 + "..."
    assert one_line("x " * 400, None) == ("x " * 400).strip()
