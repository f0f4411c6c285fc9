"""Named edits: those of the flag, those that come with a world, and their directions."""

from __future__ import annotations

import pytest
import torch

from text2latent.apps.serving.live.edits import EditDirections, own_edits, read_edits
from text2latent.common.errors import UsageError
from text2latent.inference.editing import edit_direction
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.query import Query
from text2latent.inference.settings import Settings


def test_the_flags_pairs_by_name() -> None:
    assert read_edits([["smile", "sad", "happy"], ["a-b_1", "x", "y"]]) == {
        "smile": ("sad", "happy"),
        "a-b_1": ("x", "y"),
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([["a/b", "x", "y"]], "--live-edit: expected a name of up to 40 letters, digits, - and _, got 'a/b'"),
        ([["", "x", "y"]], "--live-edit: expected a name"),
        ([["a", "x", "y"], ["a", "x", "z"]], "--live-edit: expected names that differ, got 'a' twice"),
        ([["a", " ", "y"]], "--live-edit a: prompt"),
    ],
)
def test_unusable_pairs_are_refused(given: list[list[str]], expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_edits(given)
    assert str(caught.value).startswith(expected)


def test_the_faces_bring_some() -> None:
    pairs = own_edits("faces")
    assert {"smile", "age", "glasses"} <= set(pairs)
    assert all(start != end for start, end in pairs.values())
    assert own_edits("no such model") == own_edits("../faces") == {}


def test_a_direction_is_the_pipelines_and_found_once(pipeline: Text2LatentPipeline) -> None:
    directions = EditDirections(pipeline, {"age": ("young", "old")})
    expected = edit_direction(pipeline, Query("young"), Query("old"), Settings())
    assert torch.allclose(directions("age"), expected)
    assert directions("age") is directions("age")
