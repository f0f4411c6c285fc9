"""The command `text2latent verify`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from text2latent.apps import verify


@pytest.fixture
def dataset(tiny_pairs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_pairs, tmp_path / "pairs"))


def test_a_whole_dataset_exits_with_0(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([str(dataset)]) == 0
    assert capsys.readouterr().out == "4 shards, 50 pairs read back: all is well\n"


def test_each_problem_is_a_line_and_the_exit_code_is_1(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / "shard-000001.tar").unlink()
    (dataset / "shard-000002.tar").write_bytes(b"")
    assert verify.main([str(dataset)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "missing: shard-000001.tar: recorded as finished, but not there",
        "truncated: shard-000002.tar: ends after 0 bytes, within the archive",
        "4 shards, 50 pairs read back: 2 problems",
    ]


def test_the_report_as_json(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / "shard-000003.tar").unlink()
    assert verify.main([str(dataset), "--json", "--shards", "2..9"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["shards"], report["pairs"]) == (2, 18)
    assert [problem["kind"] for problem in report["problems"]] == ["missing"]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        ([], 2, "dataset"),
        (["absent"], 1, "manifest.json"),
        (["ftp://somewhere/pairs"], 2, "s3://"),
        (["{dataset}", "--shards", "5..2"], 2, "--shards"),
    ],
)
def test_mistakes_are_told_in_a_line(
    dataset: Path, arguments: list[str], code: int, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main([argument.format(dataset=dataset) for argument in arguments]) == code
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("text2latent verify: error: ")
    assert word in line
