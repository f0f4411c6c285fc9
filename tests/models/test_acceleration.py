"""Captured graphs give what plain calls give, whatever came before; flags that can't be obeyed are refused.

Where there is no CUDA device a graph is a record of operations: replayed, they read and write the tensors that they
read and wrote when they were recorded, as a CUDA graph's kernels do.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from text2latent import infer, sample
from text2latent.apps.serving import command as serve
from text2latent.common.command import describe_failure
from text2latent.common.errors import InputError
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models import acceleration
from text2latent.models.acceleration import Acceleration, GraphRunner
from text2latent.models.generators.stylegan2 import StyleGAN2Generator
from text2latent.models.priors.registry import create_prior
from text2latent.models.priors.schedulers import build_scheduler
from text2latent.tests.pictures import TEXT

CPU = torch.device("cpu")
TEXTS = ("a hat", "a red house", "a dog by the sea")


class Recording(TorchDispatchMode):
    """Keeps each operation, its operands and its result; refuses looks at numbers, as a capture does."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].numel() and args[0].dtype != torch.int64:
            raise RuntimeError("operation not permitted when stream is capturing")
        options = dict(kwargs or {})
        result = func(*args, **options)
        self.steps.append((func, args, options, result))
        return result

    @torch.autocast("cpu", enabled=False)  # its casts are among the steps
    def replay(self) -> None:
        for func, args, options, result in self.steps:
            anew = func(*args, **options)
            if not func._schema.is_mutable and not func.is_view:
                for kept, found in zip(tree_leaves(result), tree_leaves(anew), strict=True):
                    if isinstance(kept, Tensor):
                        kept.copy_(found)


def record(compute: Callable[[], Tensor], device: torch.device) -> tuple[Callable[[], object], Tensor]:
    with Recording() as recording:
        output = compute()
    return recording.replay, output


@pytest.fixture
def runner() -> GraphRunner:
    return GraphRunner(record)


@pytest.fixture
def generator() -> StyleGAN2Generator:
    torch.manual_seed(0)
    made = StyleGAN2Generator(z_dim=8, w_dim=8, img_resolution=16, channel_base=64, channel_max=8)
    return made.eval().requires_grad_(False)


@torch.no_grad()
def test_other_latents_and_batch_sizes_give_their_own_images(
    runner: GraphRunner, generator: StyleGAN2Generator
) -> None:
    batches = [torch.randn(n, 1, 8) for n in (1, 3, 1, 2, 3)]
    expected = [generator.synthesize(batch) for batch in batches]
    generator.run = runner
    drawn = [generator.synthesize(batch) for batch in batches]
    for images, plain in zip(drawn, expected, strict=True):
        torch.testing.assert_close(images, plain, atol=0, rtol=0)
    assert len(runner) == 3, "a graph for each batch size"


@torch.no_grad()
def test_a_graph_keeps_to_its_precision_and_options(runner: GraphRunner, generator: StyleGAN2Generator) -> None:
    latents = torch.randn(2, 1, 8)

    def draw(rough: bool, **options: Any) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=rough):
            return generator.synthesize(latents, **options)

    ways: list[tuple[bool, dict[str, Any]]] = [(False, {}), (True, {"exact": False}), (False, {"noise_mode": "none"})]
    expected = [draw(rough, **options) for rough, options in ways]
    generator.run = runner
    for _ in range(2):
        for (rough, options), plain in zip(ways, expected, strict=True):
            torch.testing.assert_close(draw(rough, **options), plain, atol=0, rtol=0)
    assert len(runner) == 3
    torch.testing.assert_close(generator.synthesize(latents.double()), expected[0], atol=1e-5, rtol=1e-5)
    assert len(runner) == 4


@pytest.mark.parametrize("sampler", ["euler", "ddpm"])
@pytest.mark.parametrize("negative", [None, "a hat"])
def test_a_pipeline_draws_the_same_pictures(
    tiny_model: Path, runner: GraphRunner, sampler: str, negative: str | None
) -> None:
    pipeline = Text2LatentPipeline.from_pretrained(str(tiny_model))
    if sampler == "ddpm":
        torch.manual_seed(0)
        pipeline.prior = create_prior("transformer", (1, 16), 16, 64, 1, objective="sample").eval()
        pipeline.scheduler = build_scheduler(sampler, "sample")

    def draw(texts: tuple[str, ...], seed: int, size: int, **settings: Any) -> Any:
        return pipeline(
            list(texts), 2, seeds=[seed, seed + 1], batch_size=size, negative_prompt=negative, output_type="pt",
            **settings,
        )  # fmt: skip

    calls: list[tuple[tuple[str, ...], int, int, dict[str, Any]]] = [
        (TEXTS[:1], 0, 2, {}),
        (TEXTS[:1], 5, 2, {}),
        (TEXTS, 0, 4, {"truncation": 0.5}),
        (TEXTS[1:], 0, 4, {"num_inference_steps": 3, "guidance_scale": 3.0}),
        (TEXTS[:1], 0, 2, {"rerank": 2}),
    ]
    expected = [draw(*call[:3], **call[3]) for call in calls]
    pipeline._set_runner(runner)
    for call, plain in zip(calls, expected, strict=True):
        drawn = draw(*call[:3], **call[3])
        torch.testing.assert_close(drawn.images, plain.images, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(drawn.clip_scores, plain.clip_scores, atol=1e-5, rtol=1e-5)


def test_results_are_nobody_elses() -> None:
    runner = GraphRunner(record)
    with torch.no_grad():
        first = runner(torch.neg, torch.ones(3))
        second = runner(torch.neg, torch.full((3,), 2.0))
    assert first.tolist() == [-1, -1, -1]
    assert second.tolist() == [-2, -2, -2]


def test_threads_do_not_mix_up_their_tensors() -> None:
    runner, wrong = GraphRunner(record), list[float]()

    def work(value: float) -> None:
        with torch.no_grad():
            for _ in range(200):
                if runner(torch.neg, torch.full((4,), value)).tolist() != [-value] * 4:
                    wrong.append(value)

    threads = [threading.Thread(target=work, args=(float(value),)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_latest_graphs_are_kept() -> None:
    runner = GraphRunner(record, most=2)
    with torch.no_grad():
        for size in (1, 2, 1, 3, 1):
            runner(torch.neg, torch.ones(size))
    assert len(runner) == 2


def test_gradients_and_random_generators_are_left_alone(runner: GraphRunner) -> None:
    x = torch.ones(2, requires_grad=True)
    runner(torch.exp, x).sum().backward()
    assert x.grad is not None
    with torch.no_grad():
        runner(lambda x, generator: torch.rand(2, generator=generator), x, generator=torch.Generator())
    assert len(runner) == 0


def test_what_cannot_be_captured_runs_with_one_warning(runner: GraphRunner) -> None:
    def looks(x: Tensor) -> Tensor:
        return -x if float(x.sum()) > 0 else x

    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = [runner(looks, torch.tensor([value])).item() for value in (2.0, -3.0)]
    assert results == [-2.0, -3.0]
    (warning,) = caught
    assert "looks can't be captured and runs without: operation not permitted" in str(warning.message)


@pytest.mark.parametrize("verb", ["infer", "sample", "serve"])
def test_graphs_without_cuda_are_refused_in_one_line(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    mains = {
        "infer": lambda flags: infer.main(["--text", TEXT, *flags]),
        "sample": lambda flags: sample.main(["--output", "pairs", *flags]),
        "serve": lambda flags: serve.main(["--port", "0", *flags]),
    }
    assert mains[verb](["--device", "cpu", "--cuda-graph"]) == 1
    error = capsys.readouterr().err
    expected = "--cuda-graph: expected a CUDA device, got cpu; leave the flag out there"
    assert error == f"text2latent {verb}: error: {expected}\n"
    assert list(tmp_path.iterdir()) == []


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="--compile: expected a C\\+\\+ compiler such as g\\+\\+ on this machine"):
        Acceleration(compile=True).check(CPU)
    with pytest.raises(InputError, match="--compile: expected a CUDA device or the CPU, got mps"):
        Acceleration(compile=True).check(torch.device("mps"))
    Acceleration().check(CPU)


def test_a_compiler_that_fails_is_told_in_one_line() -> None:
    import torch._dynamo

    error = torch._dynamo.exc.InternalTorchDynamoError("g++ failed:\n1 error")
    told = describe_failure(error)
    assert told == "--compile: torch.compile can't compile a network here, leave the flag out (g++ failed: 1 error)"


def test_a_move_forgets_graphs(tiny_model: Path) -> None:
    """They would read weights where these no longer are."""
    pipeline = Text2LatentPipeline.from_pretrained(str(tiny_model))
    pipeline._set_runner(GraphRunner(record))
    pipeline.to("cpu")
    assert pipeline.run is pipeline.generator.run is pipeline.clip.run is acceleration.directly


@pytest.mark.slow
def test_compiled_networks_draw_the_same_pictures(tiny_model: Path) -> None:
    pipeline = Text2LatentPipeline.from_pretrained(str(tiny_model))
    names = set(pipeline.generator.state_dict())
    calls = [(TEXTS[:1], 1), (TEXTS, 3)]
    expected = [pipeline(list(texts), seeds=[0], batch_size=size, output_type="pt") for texts, size in calls]
    pipeline.accelerate(Acceleration(compile=True))
    for (texts, size), plain in zip(calls, expected, strict=True):
        drawn = pipeline(list(texts), seeds=[0], batch_size=size, output_type="pt")
        torch.testing.assert_close(drawn.images, plain.images, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(drawn.clip_scores, plain.clip_scores, atol=1e-4, rtol=1e-4)
    assert set(pipeline.generator.state_dict()) == names
