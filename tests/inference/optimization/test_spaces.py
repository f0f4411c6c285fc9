"""Class mixing and the regularisers of BigGAN's latents against plain formulas; tokens against torch's softmax."""

import pytest
import torch
from scipy import stats

from text2latent.common.errors import UsageError
from text2latent.inference.optimization.spaces import LOSS_UNIT, ClassConditionalSpace, TokenSpace, top_classes


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def test_top_classes_are_softmaxes_over_what_is_left() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5, 1.0]])
    left, expected = logits[0].clone(), torch.zeros(4)
    for _ in range(2):
        weights = (left / 1.5).softmax(dim=0)
        expected[weights.argmax()] = weights.max()
        left[weights.argmax()] = -torch.inf
    torch.testing.assert_close(top_classes(logits, 2, 1.5)[0], expected)


def test_the_last_class_takes_all_that_is_left_and_gradients_pass() -> None:
    logits = torch.randn(3, 5, requires_grad=True)
    weights = top_classes(logits, 5, 1.0)
    torch.testing.assert_close(weights.gather(1, logits.argmin(dim=1, keepdim=True)), torch.ones(3, 1))
    (gradient,) = torch.autograd.grad(top_classes(logits, 2, 1.0).sum(), logits)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


def test_start_is_normal_with_faint_classes() -> None:
    space = ClassConditionalSpace(torch.randn(6, 50), 200)
    x = space.start(4, generators(3))
    assert torch.equal(x[1:2], space.start(4, generators(2)[1:]))
    assert float(x[..., :200].std()) == pytest.approx(1, rel=0.1)
    assert float(space.classes(x).mean()) == pytest.approx(0.02, abs=0.005)
    latents = space.latents(x)
    torch.testing.assert_close(latents[..., 200:], x[..., 200:].sigmoid() @ space.embedding.T)
    assert torch.equal(latents[..., :200], x[..., :200])


def test_penalty_is_big_sleeps() -> None:
    space = ClassConditionalSpace(torch.randn(3, 6), 16)
    x = 1.5 * torch.randn(1, 2, 22, generator=torch.Generator().manual_seed(0)) + 0.2
    z, classes = x[0, :, :16].numpy().astype("float64"), x[0, :, 16:].sigmoid()
    terms = 0.0
    for token in z:
        # The moments of the standardised token, whose deviation has n - 1 under it, as torch.std has.
        ratio = token.std() / token.std(ddof=1)
        skewness, kurtosis = stats.skew(token) * ratio**3, (stats.kurtosis(token) + 3) * ratio**4 - 3
        terms += (abs(1 - token.std(ddof=1)) + abs(token.mean()) + abs(skewness) + abs(kurtosis)) / 2
    terms += 4 * max((z**2).mean() - 1, 0)
    smallest = classes.sort(dim=1).values[:, :-1]
    terms += float((50 * smallest).square().mean())
    assert float(space.penalty(x)[0]) == pytest.approx(terms / LOSS_UNIT, rel=1e-4)


def test_at_most_max_classes_are_mixed() -> None:
    space = ClassConditionalSpace(torch.randn(3, 6), 4, max_classes=2)
    assert ((space.classes(torch.randn(2, 3, 10)) > 0).sum(dim=-1) == 2).all()


@pytest.mark.parametrize(("classes", "temperature"), [(0, 1.0), (7, 1.0), (2, 0.0)])
def test_wrong_classes_are_refused(classes: int, temperature: float) -> None:
    with pytest.raises(UsageError, match=r"max_classes|class_temperature"):
        ClassConditionalSpace(torch.randn(3, 6), 4, classes, temperature)


def test_tokens_are_soft_or_gumbel() -> None:
    x = torch.randn(2, 3, 4)
    assert torch.equal(TokenSpace(0.5).latents(x), 2 * x)
    assert torch.equal(TokenSpace(1.0, gumbel=True).latents(x), x)
    logits = torch.tensor([0.0, 1.0, 2.0]).expand(1, 4000, 3)
    chosen = TokenSpace(1.0, gumbel=True).latents(logits, generators(1)).argmax(dim=-1)
    # The Gumbel-max trick: the largest is a sample of the softmax.
    shares = torch.bincount(chosen.flatten(), minlength=3) / 4000
    torch.testing.assert_close(shares, logits[0, 0].softmax(dim=0), atol=0.03, rtol=0)
    assert torch.equal(TokenSpace().penalty(x), torch.zeros(2))
    with pytest.raises(UsageError, match="token_temperature"):
        TokenSpace(0.0)
