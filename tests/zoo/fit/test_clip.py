from __future__ import annotations

import copy
import json

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from text2latent.models.clip.encoder import ClipEncoder, build_clip, encode_tokens
from text2latent.models.clip.files import WEIGHTS_NAME
from text2latent.zoo.fit import clip as module
from text2latent.zoo.fit.clip import (
    ClipTrainer,
    KnownEmbedding,
    add_unknown_words,
    clip_config,
    clip_loss,
    contrastive_loss,
    draw_pairs,
    embed_renders,
    export,
    fit_clip,
    fit_heads,
    fit_text,
    known_tokens,
    main,
    text_loss,
    trainer_of,
)
from text2latent.zoo.fit.fitting import FitPlan
from text2latent.zoo.language.captions import LANGUAGES, draw_caption, matches, noisy_caption
from text2latent.zoo.world import load_world

FACES = load_world("faces")

START, END = 49406, 49407


@pytest.fixture(scope="module")
def known() -> Tensor:
    return known_tokens(FACES, num_captions=400, seldom=0)


@pytest.fixture(scope="module")
def trainer(known) -> ClipTrainer:
    """Towers and heads with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ClipTrainer(FACES, build_clip(clip_config(FACES)), known)


def tokens_of(n: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    texts = [draw_caption(FACES, rng, row, LANGUAGES[i % 2]).text for i, row in enumerate(FACES.draw_codes(rng, n))]
    context_length = clip_config(FACES)["model_cfg"]["text_cfg"]["context_length"]
    return open_clip.SimpleTokenizer(context_length=context_length)(texts)


def embeddings(n: int, seed: int, dim: int = 6) -> Tensor:
    return normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


def test_known_tokens_are_nearly_all_that_new_captions_use(known):
    assert known.tolist() == sorted(set(known.tolist()))
    assert {0, START, END} <= set(known.tolist())
    assert torch.isin(tokens_of(100, seed=77), known).float().mean() > 0.98
    assert set(known_tokens(FACES, num_captions=400, seldom=2).tolist()) < set(known.tolist())


def test_known_embedding_is_that_of_known_tokens_and_zero_elsewhere():
    layer = KnownEmbedding(torch.tensor([0, 3, 7]), vocab_size=10, width=4)
    vectors = layer(torch.arange(10)[None])[0]
    assert torch.equal(vectors[[0, 3, 7]], layer.weight)
    assert vectors[[1, 2, 4, 5, 6, 8, 9]].abs().max() == 0
    vectors.sum().backward()
    assert torch.equal(layer.weight.grad, torch.ones(3, 4))


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 19), min_size=1), st.lists(st.integers(0, 19), min_size=1, max_size=12))
def test_expanded_embedding_equals_the_known_one(known, tokens):
    layer = KnownEmbedding(torch.tensor(sorted(known)), vocab_size=20, width=3)
    expanded = layer.expanded()
    assert isinstance(expanded, torch.nn.Embedding)
    assert expanded.weight.shape == (20, 3)
    assert torch.equal(expanded(torch.tensor([tokens])), layer(torch.tensor([tokens])))


def test_contrastive_loss_is_info_nce_when_each_caption_has_one_image():
    image, text, scale = embeddings(7, 0), embeddings(7, 1), torch.tensor(9.0)
    labels = torch.arange(7)
    expected = (cross_entropy(scale * text @ image.T, labels) + cross_entropy(scale * image @ text.T, labels)) / 2
    torch.testing.assert_close(contrastive_loss(image, text, torch.eye(7, dtype=torch.bool), scale), expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 5), st.integers(2, 7), st.floats(0.5, 20))
def test_contrastive_loss_against_loops(seed, texts, images, scale):
    image, text = embeddings(images, seed), embeddings(texts, seed + 1)
    match = np.random.default_rng(seed).random((texts, images)) < 0.4
    match[:, 0] = True
    similarity = np.exp(scale * (text @ image.T).numpy())
    by_text = [
        np.mean([-np.log(similarity[i, j] / similarity[i].sum()) for j in range(images) if match[i, j]])
        for i in range(texts)
    ]
    by_image = [
        np.mean([-np.log(similarity[i, j] / similarity[:, j].sum()) for i in range(texts) if match[i, j]])
        for j in range(images)
        if match[:, j].any()
    ]
    loss = contrastive_loss(image, text, torch.from_numpy(match), torch.tensor(scale, dtype=torch.float64))
    assert loss.item() == pytest.approx((np.mean(by_text) + np.mean(by_image)) / 2)


def test_unknown_words_leave_the_caption_in_place():
    tokens = tokens_of(250)
    before = tokens.clone()
    changed = add_unknown_words(tokens, 96, np.random.default_rng(0))
    assert torch.equal(tokens, before)
    assert changed.shape[1] <= tokens.shape[1]
    lengthened = 0
    for old, new in zip(tokens.tolist(), changed.tolist(), strict=True):
        caption, longer = old[: old.index(END) + 1], new[: new.index(END) + 1]
        assert set(new[len(longer) :]) <= {0}
        extra = len(longer) - len(caption)
        assert 0 <= extra <= 3
        places = [p for p in range(len(caption)) if longer[:p] + longer[p + extra :] == caption]
        assert places, "more than one run of words was put in"
        assert extra == 0 or max(places) >= 1
        lengthened += extra > 0
    assert 0.08 < lengthened / len(tokens) < 0.23


def test_unknown_words_never_lengthen_a_caption_beyond_the_context(monkeypatch):
    monkeypatch.setattr(module, "UNKNOWN_RATE", 1.0)
    context_length = 30
    full = torch.full((20, context_length), 320)
    full[:, 0], full[:, -1] = START, END
    assert torch.equal(add_unknown_words(full, context_length, np.random.default_rng(0)), full)
    nearly = full[:, :-3].clone()
    nearly[:, -1] = END
    longer = add_unknown_words(nearly, context_length, np.random.default_rng(0))
    assert nearly.shape[1] < longer.shape[1] <= context_length
    assert (longer.max(dim=1).values == END).all()


def test_grouping_by_length_changes_no_embedding(trainer):
    tokens = tokens_of(21, seed=4)
    with torch.no_grad():
        plain = encode_tokens(trainer.clip, tokens)
        for num_groups in (1, 4, 21):
            grouped = trainer._encode_by_length(tokens, num_groups)
            torch.testing.assert_close(grouped, plain, atol=1e-4, rtol=1e-4)


def test_faces_come_in_pairs_that_differ_in_little():
    codes = draw_pairs(FACES, np.random.default_rng(0), 400)
    np.testing.assert_array_equal(FACES.restrict(codes), codes)
    differ = (codes[0::2] != codes[1::2]).sum(axis=1)
    assert differ.max() <= 3, "two attributes, and facial hair that these two rule out"
    assert 0.5 < differ.mean() < 1.6
    assert (codes[1:-1:2] != codes[2::2]).sum(axis=1).mean() > 5
    changed = (codes[0::2] != codes[1::2]).mean(axis=0)
    assert (changed > 0.02).all()


def test_attribute_predictions_are_distributions(trainer):
    parts = trainer.attribute_log_probabilities(embeddings(5, 3, dim=128).float())
    assert [part.shape for part in parts] == [(5, size) for size in FACES.sizes]
    for part in parts:
        torch.testing.assert_close(part.exp().sum(dim=1), torch.ones(5))


def test_towers_give_unit_vectors(trainer, renders):
    with torch.no_grad():
        pair = trainer(renders[0][:4], tokens_of(4))
    for vectors in pair:
        assert vectors.shape == (4, 128)
        assert vectors.dtype == torch.float32
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))


def certain(codes: np.ndarray) -> list[Tensor]:
    """Log-probabilities that give all but a billionth to these values."""
    shares = [np.eye(size)[codes[:, i]] for i, size in enumerate(FACES.sizes)]
    return [torch.from_numpy(np.log((part + 1e-9) / (part + 1e-9).sum(1, keepdims=True))) for part in shares]


def test_image_loss_is_zero_for_right_answers_and_blind_to_hair_that_is_not_there():
    codes = FACES.draw_codes(np.random.default_rng(1), 12)
    hair, style = FACES.names.index("hair_color"), FACES.names.index("hair_style")
    codes[:, style] = 0
    codes[0, [hair, style]] = 1, 1
    assert module._image_attribute_loss(FACES, certain(codes), codes).item() < 1e-6
    wrong = codes.copy()
    wrong[1:, hair] = (codes[1:, hair] + 1) % FACES.sizes[hair]
    assert module._image_attribute_loss(FACES, certain(wrong), codes).item() < 1e-6
    wrong[0, hair] = 2
    assert module._image_attribute_loss(FACES, certain(wrong), codes).item() == pytest.approx(
        -np.log(1e-9) / 11, rel=1e-3
    )


def test_text_loss_asks_for_what_the_caption_allows():
    rng = np.random.default_rng(1)
    captions = [draw_caption(FACES, rng, row, "en") for row in FACES.draw_codes(rng, 12)]
    uniform = [torch.full((12, size), -np.log(size), dtype=torch.float64) for size in FACES.sizes]
    assert module._text_attribute_loss(uniform, captions).item() == pytest.approx(
        np.mean(np.log(FACES.sizes)), rel=1e-5
    )
    allowed = [np.stack([caption.allowed[i, :size] for caption in captions]) for i, size in enumerate(FACES.sizes)]
    shares = [part / part.sum(axis=1, keepdims=True) for part in allowed]
    best = module._text_attribute_loss([torch.from_numpy(np.log(part + 1e-12)) for part in shares], captions).item()
    entropy = np.mean([-(part * np.log(part + 1e-12)).sum(axis=1).mean() for part in shares])
    assert best == pytest.approx(entropy, rel=1e-5)
    assert best < np.mean(np.log(FACES.sizes)) - 0.1


def test_loss_depends_on_the_step_alone_and_reaches_every_weight(trainer, monkeypatch):
    """Residual branches of open_clip's ResNet begin with a gain of zero, which no gradient passes: hence the ones."""
    monkeypatch.setattr(module, "BATCH", 8)
    trainer = copy.deepcopy(trainer).eval()
    for layer in trainer.clip.visual.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(layer.weight)
    with torch.no_grad():
        values = [clip_loss(trainer, step)[0].item() for step in (3, 3, 4)]
    assert values[0] == values[1] != values[2]
    loss, logged = clip_loss(trainer, 3)
    assert loss.item() == pytest.approx(logged["contrastive"] + 2 * logged["image"] + 2 * logged["text"], rel=1e-5)
    loss.backward()
    assert [name for name, p in trainer.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.fixture
def small_text_stage(monkeypatch):
    """The second stage in a few seconds."""
    plan = FitPlan(num_steps=2, lr=1e-2, warmup_steps=1, log_every=1, save_every=1)
    settings = {"make_text_plan": lambda world: plan, "TEXT_BATCH": 4, "TEXT_IMAGES": 10, "NUM_IMAGES": 16}
    for name, value in settings.items():
        monkeypatch.setattr(module, name, value)


def test_embedded_renders_are_those_of_the_image_tower(trainer):
    trainer.eval()
    vectors, codes = embed_renders(trainer, 70)
    again, same_codes = embed_renders(trainer, 70)
    assert vectors.shape == (70, 128)
    assert not vectors.requires_grad
    assert torch.equal(vectors, again)
    np.testing.assert_array_equal(codes, same_codes)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(70))
    assert len(vectors.unique(dim=0)) == 70


def test_text_loss_depends_on_the_step_alone(trainer, small_text_stage):
    image, codes = embed_renders(trainer, 16)
    with torch.no_grad():
        values = [text_loss(trainer, step, image, codes)[0].item() for step in (3, 3, 4)]
    assert values[0] == values[1] != values[2]


def test_second_stage_trains_the_text_tower_alone(trainer, small_text_stage, tmp_path):
    own = copy.deepcopy(trainer).eval()
    before = copy.deepcopy(own.state_dict())
    fitted = fit_text(own, tmp_path).state_dict()
    changed = {name for name, tensor in fitted.items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name, _ in trainer.named_parameters() if name.startswith("clip.text.")}


def test_heads_learn_what_embeddings_show(trainer):
    own = copy.deepcopy(trainer)
    codes = FACES.draw_codes(np.random.default_rng(2), 300)
    values = np.concatenate([np.eye(size)[codes[:, i]] for i, size in enumerate(FACES.sizes)], axis=1)
    image = normalize(torch.nn.functional.pad(torch.from_numpy(values).float(), (0, 128 - values.shape[1])), dim=1)
    losses = []
    for num_steps in (0, 200):
        fit_heads(own, image, codes, num_steps)
        predictions = own.attribute_log_probabilities(image)
        losses.append(module._image_attribute_loss(FACES, predictions, codes).item())
    assert losses[1] < 0.1 * losses[0]


def test_fitting_goes_on_from_a_clip_that_is_there(trainer, known, tmp_path, monkeypatch, small_text_stage):
    export(trainer.eval(), tmp_path / "before")
    wider = torch.cat([known, torch.tensor([48000])]).unique()
    assert len(wider) == len(known) + 1
    monkeypatch.setattr(module, "known_tokens", lambda world: wider)
    own = trainer_of(FACES, tmp_path / "before")
    vectors, before = (part.clip.text.token_embedding(known[None])[0] for part in (own, trainer))
    torch.testing.assert_close(vectors, before, atol=1e-3, rtol=0)
    flags = [
        "faces",
        "--source",
        str(tmp_path / "before"),
        "--work",
        str(tmp_path / "work"),
        "--output",
        str(tmp_path / "after"),
    ]
    with torch.random.fork_rng():
        assert main(flags) == 0
    after, old = (load_file(tmp_path / name / WEIGHTS_NAME) for name in ("after", "before"))
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, old[name])}
    assert changed
    assert all(name.startswith("text.") for name in changed)
    config = json.loads((tmp_path / "after" / "open_clip_config.json").read_text())
    assert config["text_normalization"] == "japanese"


def test_captions_are_shown_with_their_typing_errors():
    rng, codes = np.random.default_rng(0), FACES.draw_codes(np.random.default_rng(1), 300)
    captions = [noisy_caption(FACES, rng, row, "en") for row in codes]
    assert all(matches(FACES, [caption], row[None])[0, 0] for caption, row in zip(captions, codes, strict=True))
    assert len({caption.text for caption in captions}) > 250


def test_export_is_a_folder_that_open_clip_loads_to_the_same_towers(trainer, tmp_path, renders):
    trainer.eval()
    export(trainer, tmp_path / "clip")
    assert isinstance(trainer.clip.text.token_embedding, KnownEmbedding), "the trainer was changed"
    loaded = ClipEncoder.from_pretrained(str(tmp_path / "clip"))
    rng = np.random.default_rng(0)
    texts = [draw_caption(FACES, rng, row, "ja").text for row in FACES.draw_codes(rng, 5)]
    with torch.no_grad():
        text = normalize(encode_tokens(trainer.clip, loaded.tokenize(texts)), dim=-1)
        image = normalize(trainer.clip.encode_image(renders[0][:3]), dim=-1)
        torch.testing.assert_close(loaded.encode_text(texts), text, atol=0.01, rtol=0)
        torch.testing.assert_close(loaded.encode_image(renders[0][:3]), image, atol=0.01, rtol=0)


def test_fitting_writes_a_model_and_is_through_when_rerun(tmp_path, monkeypatch, small_text_stage):
    monkeypatch.setattr(module, "BATCH", 4)
    monkeypatch.setattr(module, "known_tokens", lambda world: known_tokens(FACES, num_captions=50, seldom=0))
    plan = FitPlan(num_steps=1, lr=1e-3, warmup_steps=1, log_every=1, save_every=1)
    monkeypatch.setattr(module, "make_plan", lambda world: plan)
    with torch.random.fork_rng():
        fit_clip(FACES, tmp_path / "work", tmp_path / "clip")
        weights = tmp_path / "clip" / "open_clip_model.safetensors"
        before = weights.read_bytes()
        fit_clip(FACES, tmp_path / "work", tmp_path / "clip")
    assert weights.read_bytes() == before
    assert not any("heads" in name for name in ClipEncoder.from_pretrained(str(tmp_path / "clip")).state_dict())
