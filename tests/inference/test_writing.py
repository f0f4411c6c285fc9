import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2latent.common.errors import UsageError
from text2latent.inference.writing import SLUG_BYTES, edit_label, plan_files, plan_frames, plan_grid, slugify

WOMAN = "blonde woman with glasses"


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Blonde woman, with glasses!", "blonde-woman-with-glasses"),
        ("眼鏡をかけた金髪の女性", "眼鏡をかけた金髪の女性"),
        ("ﾒｶﾞﾈ　ＡＢＣ", "メガネ-abc"),
        ("../../etc/passwd", "etc-passwd"),
        ("امرأة شقراء", "امرأة-شقراء"),
        ("😀🎉", "image"),
        ("...", "image"),
    ],
)
def test_slugs(text: str, slug: str) -> None:
    assert slugify(text) == slug


@given(st.text())
def test_slug_is_always_a_safe_file_name(text: str) -> None:
    slug = slugify(text)
    assert 0 < len(slug.encode()) <= SLUG_BYTES
    assert os.sep not in slug
    assert not slug.startswith((".", "-"))
    assert not {" ", "\n", "\0", "{", "}"} & set(slug)


def test_labels_of_edits_tell_start_and_change_apart() -> None:
    label = edit_label("a young woman", "a woman", "a woman with glasses")
    assert label == "a young woman, edited from 'a woman' to 'a woman with glasses'"
    assert slugify(label) == "a-young-woman-edited-from-a-woman-to-a-woman-with-glasses"


def test_default_names_are_text_and_seed_in_the_current_folder() -> None:
    assert plan_files(None, [WOMAN], [0]) == [Path("blonde-woman-with-glasses-0.png")]
    names = [str(path) for path in plan_files(None, ["a man", "a dog"], [7, 8])]
    assert names == ["a-man-7.png", "a-man-8.png", "a-dog-7.png", "a-dog-8.png"]


def test_folders_are_those_that_exist_end_in_a_slash_or_have_no_suffix(tmp_path: Path) -> None:
    (tmp_path / "v1.0").mkdir()
    for output in (str(tmp_path / "v1.0"), f"{tmp_path}/v2.0/", str(tmp_path / "new")):
        assert plan_files(output, ["a man"], [0]) == [Path(output) / "a-man-0.png"]


def test_prompts_of_one_slug_get_names_of_their_own() -> None:
    names = [path.name for path in plan_files(None, ["a man", "A man!", "a man", "a man 0"], [0])]
    assert names == ["a-man-0.png", "a-man-0-2.png", "a-man-0-3.png", "a-man-0-0.png"]


def test_file_is_numbered_for_several_images() -> None:
    assert plan_files("out/face.png", ["a man"], [5]) == [Path("out/face.png")]
    many = plan_files("out/face.PNG", ["a man", "a dog"], range(6))
    assert (many[0], many[11], len(many)) == (Path("out/face-00.PNG"), Path("out/face-11.PNG"), 12)


def test_pattern_fields() -> None:
    pattern = "out/{prompt}/{seed:03d}_{image}_{index}.png"
    assert [str(path) for path in plan_files(pattern, ["a man", "a dog"], [7, 8])] == [
        "out/a-man/007_0_0.png",
        "out/a-man/008_1_1.png",
        "out/a-dog/007_0_2.png",
        "out/a-dog/008_1_3.png",
    ]


@pytest.mark.parametrize(
    "pattern", ["{name}.png", "{}.png", "{seed", "{seed.png", "{seed.real}.png", "{seed!x}.png", "{seed:zz}.png"]
)
def test_wrong_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="--output: expected a"):
        plan_files(f"out/{pattern}", ["a man"], [0])


def test_pattern_of_folders_gets_default_names() -> None:
    assert plan_files("out/{prompt}/", ["a man"], [7]) == [Path("out/a-man/a-man-7.png")]
    assert plan_grid("out/{seed}", ["a man"], [7]) == Path("out/7/a-man-grid.png")


def test_pattern_that_would_overwrite_itself_is_refused() -> None:
    with pytest.raises(UsageError, match="one name to several images"):
        plan_files("{prompt}.png", ["a man"], [0, 1])
    assert plan_files("{prompt}.png", ["a man", "a dog"], [0]) == [Path("a-man.png"), Path("a-dog.png")]


@pytest.mark.parametrize("output", ["face.jpg", "face.png.txt", "out/.hidden.gif"])
def test_other_formats_are_refused(output: str) -> None:
    for plan in (plan_files, plan_grid):
        with pytest.raises(UsageError, match=r"expected a \.png file"):
            plan(output, ["a man"], [0])


def test_overlong_name_is_refused_before_any_work() -> None:
    with pytest.raises(UsageError, match="at most 255 bytes"):
        plan_files("森" * 90 + ".png", ["a man"], [0])


def test_grid_is_one_file(tmp_path: Path) -> None:
    prompts, seeds = [WOMAN, "a man"], [3, 4]
    assert plan_grid(None, prompts, seeds) == Path("blonde-woman-with-glasses-grid.png")
    assert plan_grid(str(tmp_path), prompts, seeds) == tmp_path / "blonde-woman-with-glasses-grid.png"
    assert plan_grid("sheet.png", prompts, seeds) == Path("sheet.png")
    assert plan_grid("{prompt}/{seed}.png", prompts, seeds) == Path("blonde-woman-with-glasses/3.png")


def test_frames_are_one_file_whose_suffix_says_what_it_is(tmp_path: Path) -> None:
    labels, seeds = ["a man to a woman"] * 9, [3, 4]
    assert plan_frames(None, labels, seeds) == Path("a-man-to-a-woman-3.gif")
    assert plan_frames(str(tmp_path), labels, seeds) == tmp_path / "a-man-to-a-woman-3.gif"
    for name in ("way.gif", "way.MP4", "way.png"):
        assert plan_frames(name, labels, seeds) == Path(name)
    assert plan_frames("{prompt}/{seed}.mp4", labels, seeds) == Path("a-man-to-a-woman/3.mp4")
    with pytest.raises(UsageError, match=r"\.png or \.gif or \.mp4"):
        plan_frames("way.avi", labels, seeds)
