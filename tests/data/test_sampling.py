"""Drawing of shards: batches on several threads give what one thread gives, and fail as one would."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from text2latent.common.errors import InputError
from text2latent.data.sampling import draw_latents, draw_shard
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators import Generator, load_generator
from text2latent.models.generators.layouts import to_w

SAMPLES = range(20, 50)


@pytest.fixture
def networks(tiny_world: Path) -> tuple[Generator, ClipEncoder]:
    return load_generator(str(tiny_world)).eval(), ClipEncoder.from_pretrained(str(tiny_world))


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    allowed = torch.get_num_threads()
    yield
    torch.set_num_threads(allowed)


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_the_number_of_threads_does_not_change_a_byte(networks: tuple[Generator, ClipEncoder], precision: str) -> None:
    torch.set_num_threads(1)
    alone = draw_shard(*networks, SAMPLES, batch_size=4, precision=precision, keep_images=True)
    torch.set_num_threads(3)
    together = draw_shard(*networks, SAMPLES, batch_size=4, precision=precision, keep_images=True)
    assert together == alone
    assert torch.get_num_threads() == 3


def test_batches_are_told_in_order(networks: tuple[Generator, ClipEncoder]) -> None:
    torch.set_num_threads(3)
    sizes: list[int] = []
    draw_shard(*networks, SAMPLES, batch_size=8, on_batch=sizes.append)
    assert sizes == [8, 8, 8, 6]


def test_an_error_in_a_batch_ends_the_others(
    networks: tuple[Generator, ClipEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, clip = networks
    begun: list[int] = []

    def fail(latents: torch.Tensor, **options: object) -> torch.Tensor:
        begun.append(len(latents))
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(generator, "synthesize", fail)
    torch.set_num_threads(2)
    with pytest.raises(RuntimeError, match="no such kernel"):
        draw_shard(generator, clip, range(400), batch_size=1)
    assert len(begun) < 400
    assert torch.get_num_threads() == 2


def test_what_is_not_finite_names_the_sample(networks: tuple[Generator, ClipEncoder]) -> None:
    generator, clip = networks
    generator.mapping.w_avg.fill_(float("nan"))
    with pytest.raises(InputError, match=r"sample 20 \(seed 27\): latent is not finite"):
        draw_shard(generator, clip, SAMPLES, seed=7, truncation=0.5)


@pytest.mark.parametrize("layout", ["w_plus", "z"])
def test_other_layouts_hold_the_same_images(networks: tuple[Generator, ClipEncoder], layout: str) -> None:
    generator, clip = networks
    z = generator.sample_latents(len(SAMPLES), 7 + SAMPLES.start)
    stored = draw_latents(generator, 7, SAMPLES, 1.0, layout)
    expected = z[:, None] if layout == "z" else generator.map(z)
    torch.testing.assert_close(stored.float(), expected, atol=2e-3, rtol=2e-3)
    with torch.inference_mode():
        images = generator.synthesize(to_w(stored.float(), layout, generator))
        embeddings = clip.encode_image(images)
    shard = draw_shard(generator, clip, SAMPLES, seed=7, layout=layout)
    assert read_embeddings(shard) == pytest.approx(embeddings.numpy(), abs=2e-3)


def read_embeddings(shard: bytes) -> np.ndarray:
    with tarfile.open(fileobj=io.BytesIO(shard)) as archive:
        names = [name for name in archive.getnames() if name.endswith(".embedding.npy")]
        return np.stack([np.load(io.BytesIO(archive.extractfile(name).read())) for name in names])


def test_conditional_generators_draw_each_sample_with_a_class_of_its_own_seed() -> None:
    file = Path(__file__).resolve().parent / "generators" / "sg2ada-cond-32.pkl"
    generator = load_generator(file)
    many = draw_latents(generator, 3, range(60), 1.0)
    assert torch.equal(draw_latents(generator, 3, range(20, 25), 1.0), many[20:25])
    classes = generator.sample_labels(60, 3).argmax(dim=1)
    other = torch.eye(generator.c_dim).roll(1, dims=1)[classes]
    expected, wrong = (
        generator.map(generator.sample_latents(60, 3), label)[:, :1] for label in (torch.eye(5)[classes], other)
    )
    torch.testing.assert_close(many.float(), expected, atol=1e-2, rtol=1e-2)
    assert (wrong - expected).abs().max() > 0.1
