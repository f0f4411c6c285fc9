import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2latent.common.errors import InputError, UsageError
from text2latent.inference import prompts
from text2latent.inference.prompts import (
    Prompt,
    PromptLine,
    WeightedText,
    parse_prompt,
    parts_of,
    read_prompt_file,
)
from text2latent.inference.query import Query


def parts(prompt: str) -> list[tuple[str, float]]:
    return [(part.text, part.weight) for part in parse_prompt(prompt)]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a man", [("a man", 1)]),
        ("blonde woman:1.0 | glasses:0.5", [("blonde woman", 1), ("glasses", 0.5)]),
        ("a man|a hat", [("a man, a hat", 1)]),
        ("a man : 2 | a hat: -.5", [("a man", 2), ("a hat", -0.5)]),
        ("a man:+1.|a hat:- 0.25", [("a man", 1), ("a hat", -0.25)]),
        ("金髪の女性：１．０｜眼鏡：－０．５", [("金髪の女性", 1), ("眼鏡", -0.5)]),
        ("金髪の女性：２|眼鏡｜帽子", [("眼鏡、帽子", 1), ("金髪の女性", 2)]),
        ("a clock at 10:30", [("a clock at 10:30", 1)]),
        ("a ratio of 1:2 here | a man", [("a ratio of 1:2 here, a man", 1)]),
        (r"a clock at 10\:30 | a man:2", [("a clock at 10:30", 1), ("a man", 2)]),
        (r"a \| b", [("a | b", 1)]),
        (r"a \｜ b | c\：3", [("a ｜ b、c：3", 1)]),
        (r"C:\dir | a\\:2", [("C:\\dir", 1), ("a\\", 2)]),
        ("a man:1:2 | b", [("b", 1), ("a man:1", 2)]),
        ("two\nlines:2 | b", [("b", 1), ("two\nlines", 2)]),
    ],
)
def test_grammar(prompt: str, expected: list[tuple[str, float]]) -> None:
    assert parts(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a man |", "expected a text in each part"),
        ("| a man", "expected a text in each part"),
        ("a man | :2", "expected a text in each part"),
        ("a man || a hat", "expected a text in each part"),
        ("a man:-1 | a hat:0.5", "sum is positive"),
        ("a man:0 | a hat:0", "sum is positive"),
        ("a man:1000 | a hat", "between -100 and 100, got 1000"),
    ],
)
def test_wrong_weights_are_refused(prompt: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_prompt(prompt)


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).map(str.strip).filter(bool)


def escape(text: str) -> str:
    return "".join(f"\\{char}" if char in "|｜:：\\" else char for char in text)


@given(st.lists(st.tuples(TEXT, st.integers(1, 9999).map(lambda i: i / 100)), min_size=2, max_size=4))
def test_any_texts_survive_escaping(weighted: list[tuple[str, float]]) -> None:
    prompt = " | ".join(f"{escape(text)}: {weight}" for text, weight in weighted)
    assert parts(prompt) == weighted


@given(TEXT)
def test_one_escaped_text_is_itself(text: str) -> None:
    assert parse_prompt(escape(text)) == (WeightedText(text, 1.0),)


def test_each_part_is_checked() -> None:
    assert Prompt("  a man | a hat ") == "a man | a hat"
    with pytest.raises(UsageError, match="nothing visible"):
        Prompt("a man | \u200b:2")


def test_what_has_been_checked_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = Prompt(" a man | a hat:2 ")
    monkeypatch.setattr(prompts, "parse_prompt", None)
    monkeypatch.setattr(prompts, "check_prompt", None)
    assert Prompt(prompt) is prompt
    assert parts_of(prompt) == (WeightedText("a man"), WeightedText("a hat", 2.0))
    assert Query(prompt, negative=prompt).negative_parts == Query(prompt).parts == prompt.parts


def test_text_file_has_a_prompt_per_line(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes('\ufeffa man\r\n\n  眼鏡:2 | 帽子 \n{"a": 1}\n'.encode())
    assert [line.text for line in read_prompt_file(file)] == ["a man", "眼鏡:2 | 帽子", '{"a": 1}']


def test_json_lines_have_texts_and_wants(tmp_path: Path) -> None:
    file = tmp_path / "prompts.JSONL"
    objects = [{"text": "a man", "want": {"gender": "man", "age": ["young", "old"]}, "id": 3}, {"text": "眼鏡"}]
    file.write_text("\n".join(json.dumps(one) for one in objects), encoding="utf-8")
    want = {"gender": "man", "age": ["young", "old"]}
    assert read_prompt_file(file) == [PromptLine("a man", want), PromptLine("眼鏡", {})]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", b"", "expected at least one prompt"),
        ("p.txt", b"\n  \n", "expected at least one prompt"),
        ("p.txt", b"\xff\xfe\xff", "not UTF-8"),
        ("p.txt", b"a man\na\0b\n", "line 2.*control"),
        ("p.txt", b"a man\n\nb | :2\n", "line 3.*expected a text"),
        ("p.jsonl", b'{"text": "a man"}\na man\n', "line 2.*got 'a man'"),
        ("p.jsonl", b'["a man"]\n', "line 1"),
        ("p.jsonl", b'{"text": 1}\n', "line 1"),
        ("p.jsonl", b'{"text": "a", "want": ["x"]}\n', "want"),
        ("p.jsonl", b'{"text": "a", "want": {"x": 1}}\n', "want"),
        ("p.jsonl", b'{"text": "a", "want": {"x": []}}\n', "want"),
        ("p.jsonl", b"[" * 100_000, "line 1"),
    ],
)
def test_wrong_files_are_refused_naming_the_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_prompt_file(tmp_path / name)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--prompts: cannot read .*none\.txt: No such file"):
        read_prompt_file(tmp_path / "none.txt")
