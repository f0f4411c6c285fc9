from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text2latent.zoo.world import load_world

FACES = load_world("faces")


MAN, CHILD, CLEAN_SHAVEN, BALD = 0, 0, 0, 0


def column(name: str) -> int:
    return FACES.names.index(name)


any_codes = st.lists(st.tuples(*(st.integers(0, size - 1) for size in FACES.sizes)), min_size=1, max_size=8).map(
    lambda rows: np.array(rows, dtype=np.int64)
)


def test_attributes_are_those_the_world_is_described_by():
    assert " | ".join(f"{name}: {' '.join(values)}" for name, values in FACES.attributes.items()) == (
        "gender: man woman | age: child young middle-aged old | skin: light medium dark"
        " | hair_color: blonde brown black red gray white blue | hair_style: bald short long curly"
        " | eyewear: none glasses sunglasses | facial_hair: none moustache beard | earrings: no yes"
        " | headwear: none hat | expression: happy neutral sad angry"
        " | background: plain sea forest mountains city sunset"
    )
    assert FACES.sizes == (2, 4, 3, 7, 4, 3, 3, 2, 2, 4, 6)


@settings(max_examples=40)
@given(any_codes)
def test_restrict_shaves_women_and_children_and_nothing_else(codes):
    before = codes.copy()
    restricted = FACES.restrict(codes)
    for row, old in zip(restricted, before, strict=True):
        grown_man = old[column("gender")] == MAN and old[column("age")] != CHILD
        expected = old.copy()
        if not grown_man:
            expected[column("facial_hair")] = CLEAN_SHAVEN
        np.testing.assert_array_equal(row, expected)
    np.testing.assert_array_equal(codes, before, err_msg="the argument was changed")
    np.testing.assert_array_equal(FACES.restrict(restricted), restricted)


@settings(max_examples=40)
@given(any_codes)
def test_only_the_hair_colour_of_the_bald_is_invisible(codes):
    for row, mask in zip(codes, FACES.visible(codes), strict=True):
        hidden = {FACES.names[i] for i in np.flatnonzero(~mask)}
        assert hidden == ({"hair_color"} if row[column("hair_style")] == BALD else set())


@settings(max_examples=40)
@given(any_codes)
def test_encode_undoes_decode(codes):
    faces = FACES.decode(codes)
    assert all(face[name] in FACES.attributes[name] for face in faces for name in FACES.names)
    encoded = FACES.encode(faces)
    assert encoded.dtype == np.int64
    np.testing.assert_array_equal(encoded, codes)


@pytest.mark.parametrize(("name", "value"), [("hair_color", "green"), ("earrings", "none"), ("age", "")])
def test_encode_refuses_unknown_values(name, value):
    face = FACES.decode(np.zeros((1, len(FACES.names)), dtype=np.int64))[0]
    with pytest.raises(ValueError, match="not in tuple"):
        FACES.encode([{**face, name: value}])


def test_drawn_faces_are_uniform_and_independent():
    n = 20_000
    codes = FACES.draw_codes(np.random.default_rng(1), n)
    assert codes.shape == (n, len(FACES.names))
    grown_men = (codes[:, column("gender")] == MAN) & (codes[:, column("age")] != CHILD)
    for i, (name, size) in enumerate(zip(FACES.names, FACES.sizes, strict=True)):
        drawn = codes[grown_men, i] if name in ("facial_hair", "gender", "age") else codes[:, i]
        if name == "facial_hair":
            assert (codes[~grown_men, i] == CLEAN_SHAVEN).all()
        if name in ("gender", "age"):
            drawn = codes[:, i]
        counts = np.bincount(drawn, minlength=size)
        chi_square = ((counts - len(drawn) / size) ** 2).sum() / (len(drawn) / size)
        assert chi_square < size - 1 + 5 * np.sqrt(2 * size), name
    free = [i for i, name in enumerate(FACES.names) if name != "facial_hair"]
    correlation = np.corrcoef(codes[:, free].T) - np.eye(len(free))
    assert np.abs(correlation).max() < 5 / np.sqrt(n)


def test_drawing_depends_on_the_generator_alone():
    np.testing.assert_array_equal(
        FACES.draw_codes(np.random.default_rng(3), 50), FACES.draw_codes(np.random.default_rng(3), 50)
    )
    assert (FACES.draw_codes(np.random.default_rng(3), 50) != FACES.draw_codes(np.random.default_rng(4), 50)).any()
