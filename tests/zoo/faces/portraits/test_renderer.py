from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from text2latent.zoo.drawing.renders import render
from text2latent.zoo.faces.portraits.renderer import SHIFT, TILT
from text2latent.zoo.world import load_world

FACES = load_world("faces")

PLAIN = {
    "gender": "woman",
    "age": "young",
    "skin": "light",
    "hair_color": "brown",
    "hair_style": "long",
    "eyewear": "none",
    "facial_hair": "none",
    "earrings": "no",
    "headwear": "none",
    "expression": "neutral",
    "background": "plain",
}

# Where a value may show, as (left, top, right, bottom), and how many pixels must change by more than 24 of 255 levels.
PLACES = {
    "gender": ((0, 30, 128, 128), 400),
    "age": ((0, 5, 128, 128), 800),
    "skin": ((20, 20, 108, 128), 350),
    "hair_color": ((10, 5, 118, 128), 180),
    "hair_style": ((10, 5, 118, 128), 150),
    "eyewear": ((25, 35, 103, 85), 220),
    "facial_hair": ((25, 45, 103, 120), 60),
    "earrings": ((15, 55, 113, 105), 140),
    "headwear": ((10, 0, 118, 70), 800),
    "expression": ((25, 35, 103, 105), 85),
    "background": ((0, 0, 128, 128), 2500),
}


def one(face: dict[str, str], **nuisance: float) -> np.ndarray:
    row = np.array([[nuisance.get(name, 0.0) for name in FACES.nuisances]])
    return render(FACES, FACES.encode([{**PLAIN, **face}]), row)[0].astype(int)


def wearable(name: str, codes: np.ndarray) -> np.ndarray:
    """Faces of which the attribute can be seen to change: grown men for facial hair, hair for hair colour."""
    fixed = {"facial_hair": {"gender": "man", "age": "old"}, "hair_color": {"hair_style": "short"}}.get(name, {})
    changed = codes.copy()
    for other, value in fixed.items():
        changed[:, FACES.names.index(other)] = FACES.attributes[other].index(value)
    return changed


def test_pictures_are_128_pixels_of_many_colours():
    rng = np.random.default_rng(0)
    images = render(FACES, FACES.draw_codes(rng, 30), FACES.draw_nuisance(rng, 30))
    assert images.shape == (30, 128, 128, 3)
    assert images.dtype == np.uint8
    for image in images:
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 100
        assert image.std() > 20
    assert len({image.tobytes() for image in images}) == 30


def test_nothing_gives_no_pictures():
    assert render(FACES, np.empty((0, len(FACES.names)), dtype=int), np.empty((0, len(FACES.nuisances)))).shape == (
        0,
        128,
        128,
        3,
    )


def test_a_picture_depends_on_its_own_row_alone():
    rng = np.random.default_rng(1)
    codes, nuisance = FACES.draw_codes(rng, 12), FACES.draw_nuisance(rng, 12)
    images = render(FACES, codes, nuisance)
    np.testing.assert_array_equal(render(FACES, codes[::-1], nuisance[::-1])[::-1], images)
    np.testing.assert_array_equal(render(FACES, codes[7:8], nuisance[7:8])[0], images[7])


@pytest.mark.parametrize("name", FACES.names)
def test_every_two_values_of_an_attribute_are_plainly_distinct_and_change_only_their_place(name):
    rng = np.random.default_rng(2)
    codes, nuisance = wearable(name, FACES.draw_codes(rng, 12)), FACES.draw_nuisance(rng, 12)
    (left, top, right, bottom), least = PLACES[name]
    pictures = []
    for value in range(len(FACES.attributes[name])):
        changed = codes.copy()
        changed[:, FACES.names.index(name)] = value
        pictures.append(render(FACES, changed, nuisance).astype(int))
    for first, second in combinations(range(len(pictures)), 2):
        difference = np.abs(pictures[first] - pictures[second]).max(axis=-1)
        pair = f"{FACES.attributes[name][first]} and {FACES.attributes[name][second]}"
        assert (difference > 24).sum(axis=(1, 2)).min() >= least, pair
        elsewhere = difference.copy()
        elsewhere[:, top:bottom, left:right] = 0
        assert elsewhere.max() <= 2, pair


def test_background_lies_behind_the_person():
    face = slice(45, 80), slice(50, 78)
    pictures = [one({"background": value}) for value in FACES.attributes["background"]]
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture[face], pictures[0][face])


@pytest.mark.parametrize(
    ("face", "box", "color"),
    [
        ({"hair_color": "blonde", "hair_style": "curly"}, (22, 14, 106, 50), (246, 206, 84)),
        ({"hair_color": "blue"}, (20, 20, 108, 100), (48, 92, 228)),
        ({"skin": "dark"}, (45, 45, 83, 95), (136, 84, 56)),
        ({"eyewear": "sunglasses"}, (45, 50, 83, 72), (20, 20, 26)),
        ({"earrings": "yes"}, (20, 65, 108, 95), (255, 206, 30)),
        ({"expression": "happy", "gender": "man"}, (50, 70, 78, 95), (255, 255, 255)),
    ],
)
def test_values_show_in_their_colours(face, box, color):
    left, top, right, bottom = box
    other = {name: value for name, value in PLAIN.items() if name in face}
    counts = [(np.abs(one(values)[top:bottom, left:right] - color).max(axis=-1) < 12).sum() for values in (face, other)]
    assert counts[0] > counts[1] + 30


@pytest.mark.parametrize(("axis", "name"), [(1, "x"), (0, "y")])
def test_position_moves_the_person_and_nothing_else(axis, name):
    pixels = 2
    there, back = one({}, **{name: pixels / SHIFT}), one({}, **{name: -pixels / SHIFT})
    moved = np.roll(back, 2 * pixels, axis=axis)
    inside = (slice(8, 120), slice(8, 120))
    assert np.abs(there - moved)[inside].max() <= 8, "more than the shading of a plain background differs"
    assert np.abs(there - back).max() > 100


def spread(picture: np.ndarray) -> float:
    """Radius of gyration of the dark pixels, in pixels."""
    y, x = np.nonzero(picture.sum(axis=-1) < 160)
    return float(np.hypot(x - x.mean(), y - y.mean()).mean())


def test_scale_enlarges_and_tilt_turns_the_head():
    glasses = {"eyewear": "sunglasses"}
    assert spread(one(glasses, scale=1)) > 1.05 * spread(one(glasses, scale=-1))
    upright = one(glasses)[40:80]
    y, x = np.nonzero(upright.max(axis=-1) < 40)
    tilted_y, tilted_x = np.nonzero(one(glasses, tilt=1)[40:80].max(axis=-1) < 40)
    slopes = np.polyfit(x, y, 1)[0], np.polyfit(tilted_x, tilted_y, 1)[0]
    assert abs(slopes[0]) < 0.01
    assert slopes[1] == pytest.approx(np.tan(np.radians(TILT)), abs=0.015)


def test_light_brightens_and_darkens():
    means = [one({}, light=light).mean() for light in (-1, 0, 1)]
    assert means[0] < means[1] - 10
    assert means[1] < means[2] - 5


@pytest.mark.parametrize("name", FACES.nuisances)
def test_every_nuisance_changes_some_face_a_little(name):
    faces = [
        {"background": value, "headwear": "hat", "hair_style": "short"} for value in FACES.attributes["background"]
    ]
    changes = [np.abs(one(face, **{name: -1}) - one(face, **{name: 1})).mean() for face in faces]
    assert 0.05 < max(changes) < 60


def test_nuisance_is_uniform():
    drawn = FACES.draw_nuisance(np.random.default_rng(0), 20_000)
    assert drawn.shape == (20_000, len(FACES.nuisances))
    quantiles = np.quantile(drawn, [0, 0.1, 0.25, 0.5, 0.75, 0.9, 1], axis=0)
    np.testing.assert_allclose(quantiles, np.array([[-1, -0.8, -0.5, 0, 0.5, 0.8, 1]]).T * np.ones(18), atol=0.03)


def test_facial_hair_of_restricted_faces_is_not_drawn():
    codes = FACES.encode([{**PLAIN, "facial_hair": "beard"}])
    nuisance = np.zeros((1, len(FACES.nuisances)))
    np.testing.assert_array_equal(render(FACES, FACES.restrict(codes), nuisance)[0], one({}))
