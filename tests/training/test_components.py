"""Components of embeddings: checked against sources that are known, and against a singular value decomposition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from text2latent.common.errors import InputError, UsageError
from text2latent.training.components import (
    KINDS,
    dependence,
    find_components,
    group_by_dependence,
    independent_rotation,
)


def sources(n: int = 6000) -> tuple[Tensor, Tensor]:
    """A world of two switches, a choice of four and a uniform number; values `[n, 4]`, and their codes `[n, 6]`."""
    rng = torch.Generator().manual_seed(3)
    switches = torch.randint(2, (n, 2), generator=rng)
    choice, number = torch.randint(4, (n, 1), generator=rng), torch.rand(n, 1, generator=rng)
    one_hot = torch.eye(4)[choice[:, 0]] @ torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]])
    return torch.cat([switches, choice, number], dim=1), torch.cat([switches.float(), one_hot, number], dim=1)


def embeddings_of(codes: Tensor, size: int = 20) -> Tensor:
    mixing = torch.randn(codes.shape[1], size, generator=torch.Generator().manual_seed(4))
    return codes @ mixing + 0.3


def explained(components: Tensor, values: Tensor) -> Tensor:
    """Share of each component's variance `[K]` that a discrete value explains."""
    means = torch.stack([components[values == value].mean(dim=0) for value in values.unique()])
    shares = torch.stack([(values == value).float().mean() for value in values.unique()])
    return (shares[:, None] * means.square()).sum(dim=0)


@pytest.mark.parametrize("kind", KINDS)
def test_components_are_white_and_give_the_embeddings_back(kind: str) -> None:
    embeddings = embeddings_of(sources()[1])
    found = find_components(embeddings, kind)
    components = (embeddings - found.centre) @ found.analysis
    assert components.shape[1] == 6
    torch.testing.assert_close(torch.cov(components.T), torch.eye(6), atol=2e-3, rtol=0)
    torch.testing.assert_close(found.centre + components @ found.synthesis, embeddings, atol=1e-3, rtol=0)


@pytest.mark.parametrize("shows", [True, False])
def test_long_analyses_show_progress(
    shows: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    embeddings = embeddings_of(sources()[1])
    find_components(embeddings)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("text2latent.training.components.QUIET_SECONDS", 0.0)
    find_components(embeddings, shows=shows)
    assert ("independent components" in capsys.readouterr().err) == shows


def test_independent_components_are_the_sources_and_grouped_as_these() -> None:
    values, codes = sources()
    embeddings = embeddings_of(codes)
    found = find_components(embeddings)
    components = (embeddings - found.centre) @ found.analysis
    for switch in range(2):
        shares = explained(components, values[:, switch])
        (own,) = (shares > 0.5).nonzero()[:, 0].tolist()
        assert shares[own] > 0.99
        assert (found.groups == found.groups[own]).sum() == 1
    of_choice = (explained(components, values[:, 2]) > 0.5).nonzero()[:, 0]
    assert len(of_choice) == 3
    assert len(found.groups[of_choice].unique()) == 1
    assert found.num_groups == 4


def test_principal_components_are_those_of_a_singular_value_decomposition() -> None:
    embeddings = embeddings_of(sources()[1])
    found = find_components(embeddings, "principal")
    _, singular, right = torch.linalg.svd(embeddings - embeddings.mean(dim=0), full_matrices=False)
    expected = (singular[:6] / (len(embeddings) - 1) ** 0.5)[:, None] * right[:6]
    torch.testing.assert_close(found.synthesis.flip(0).abs(), expected.abs(), atol=1e-3, rtol=1e-3)
    assert found.groups.tolist() == list(range(6))


def test_rotation_is_orthogonal_and_the_same_every_time() -> None:
    white = torch.randn(500, 5, generator=torch.Generator().manual_seed(0))
    rotation = independent_rotation(white)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(5), atol=1e-5, rtol=0)
    assert torch.equal(rotation, independent_rotation(white))


def test_dependence_is_the_correlation_of_squares() -> None:
    x = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    sign = torch.randint(2, (4000, 1), generator=torch.Generator().manual_seed(1)) * 2 - 1
    other = torch.randn(4000, 1, generator=torch.Generator().manual_seed(2))
    found = dependence(torch.cat([x, sign * x, other, sign.float()], dim=1))
    assert found[0, 1] == pytest.approx(1, abs=1e-5)  # uncorrelated, and of the same size
    assert found[0, 2] < 0.05
    assert found[3].max() < 1e-3  # squares that never vary tell nothing


@given(st.integers(1, 9), st.integers(0, 2**31))
def test_groups_are_numbered_from_zero_whatever_depends(size: int, seed: int) -> None:
    matrix = torch.rand(size, size, generator=torch.Generator().manual_seed(seed))
    groups = group_by_dependence((matrix + matrix.T) / 2, least=0.5)
    assert groups.unique().tolist() == list(range(int(groups.max()) + 1))


def test_grouping_stops_where_the_average_is_too_small() -> None:
    matrix = torch.tensor([[1.0, 0.8, 0.0], [0.8, 1.0, 0.3], [0.0, 0.3, 1.0]])
    assert group_by_dependence(matrix, least=0.2).tolist() == [0, 0, 1]  # 0.15 on average between {0, 1} and {2}
    assert group_by_dependence(matrix, least=0.1).tolist() == [0, 0, 0]
    assert group_by_dependence(matrix, least=0.9).tolist() == [0, 1, 2]


def test_embeddings_without_variance_and_unknown_kinds_are_refused() -> None:
    with pytest.raises(InputError, match="embeddings: expected embeddings that differ"):
        find_components(torch.ones(10, 4))
    with pytest.raises(UsageError, match="components: expected one of independent, principal, got 'all'"):
        find_components(torch.randn(10, 4), "all")
