"""A conditional network: the value of the column is given, known or not, and all else is judged by it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, NumericColumn
from kilter.service.detector.errors import KilterError
from kilter.service.detector.networks.conditional import ConditionalVAE
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig
from kilter.training.fitting.fit import fit

SCHEMA = Schema(
    (
        NumericColumn("a", 0, 1, -3, 3),
        CategoricalColumn("shift", levels=("day", "night", "rest"), counts=(60, 40, 20)),
        BooleanColumn("on", ("1",), ("0",)),
        CategoricalColumn("other", levels=("x", "y"), counts=(60, 60)),
    ),
    rows=120,
)
UNKNOWN = (float("nan"), float("inf"), 9.0)
"""Missing, hidden, and a level that training never saw."""


def network(condition_on: str = "shift") -> ConditionalVAE:
    """Untrained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = ConditionalVAE.untrained(SCHEMA, FitConfig(members=2, hidden=8, latent=3, condition_on=condition_on))
    return made.eval()


@torch.no_grad()
@pytest.mark.parametrize(("column", "place", "levels"), [("shift", 1, 3), ("on", 2, 2)])
def test_a_value_that_is_given_costs_nothing_and_one_that_is_not_is_expected(
    column: str, place: int, levels: int
) -> None:
    """The code holds the value, so that it decodes to it; where it is unknown it is a matter of the other fields."""
    net = network(column)
    for value in range(levels):
        x = torch.tensor([[0.3, 1.0, 1.0, 0.0]])
        x[0, place] = value
        inputs, posterior, likelihood = net.infer(x)
        assert net.surprise(inputs, likelihood)[:, 0, place].abs().max() < 0.01
        assert net.expected(x, likelihood)[0, place] == pytest.approx(value, abs=1e-4)
        decoded, drawn = net.decoded(
            net.code(x), torch.randn(1, net.noise_size, generator=torch.Generator().manual_seed(value))
        )
        assert decoded[0, place] == pytest.approx(value, abs=1e-4)
        assert drawn[0, place] == value
        assert posterior.kl().min() > 0
    x[0, place] = torch.inf
    likelihood = net.infer(x)[2]
    chance = likelihood.flag[0, 0, 0] if column == "on" else likelihood.level[0, 0, 0].exp()
    assert 0.01 < float(chance) < 0.99


@given(st.sampled_from(UNKNOWN), st.sampled_from(UNKNOWN), st.floats(-3, 3))
def test_all_that_is_unknown_is_the_same(first: float, other: float, number: float) -> None:
    """The other fields are judged alike, whether the value is missing, hidden, or was never seen."""
    net = network()
    views = [net.see(torch.tensor([[number, value, 1.0, 0.0]])) for value in (first, other)]
    for field in (0, 2, 3):
        one, same = (net.surprise(view.inputs, view.likelihood)[:, 0, field] for view in views)
        assert torch.allclose(one, same)


def test_draws_have_values_as_frequent_as_the_rows() -> None:
    """The same one in all members."""
    net = network()
    x = torch.zeros(100, 4)
    x[:, 1] = torch.tensor([0.0] * 70 + [1.0] * 20 + [float("nan")] * 10)
    net.start(SCHEMA, x)
    z = net.sample(20_000, torch.Generator().manual_seed(0))
    assert z.shape == (2, 20_000, net.latent)
    assert torch.equal(z[0, :, 3:], z[1, :, 3:])
    assert torch.allclose(z[0, :, 3:].mean(0), torch.tensor([0.7, 0.2, 0.0, 0.1]), atol=0.02)


def test_a_column_that_is_none_or_of_numbers_is_refused() -> None:
    """With the names that there are, or what makes it a column of categories."""
    for name, message in (("shifts", "there is no such column among a, shift"), ("a", "--categorical a")):
        with pytest.raises(KilterError, match=message):
            ConditionalVAE.untrained(SCHEMA, FitConfig(condition_on=name))


def test_it_learns_what_turns_with_the_column() -> None:
    """Two numbers that go together in one shift and against each other in the other: the wrong sign is surprising."""
    rng = np.random.default_rng(0)
    shift = rng.integers(2, size=500)
    sign = np.where(shift == 1, 1, -1)
    first = rng.normal(size=500)
    numbers = [first, sign * first, first, sign * first]
    x = np.column_stack([*(number + 0.2 * rng.normal(size=500) for number in numbers), shift]).astype(np.float32)
    columns = tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(4))
    schema = Schema((*columns, CategoricalColumn("shift", levels=("x", "y"), counts=(250, 250))), rows=500)
    net, _ = fit(x, schema, FitConfig(model="cvae", condition_on="shift", steps=400, hidden=32, members=1), seed=0)
    wrong = x.copy()
    wrong[:, 4] = 1 - wrong[:, 4]
    with torch.no_grad():
        usual, odd = (net.see(torch.from_numpy(rows)) for rows in (x, wrong))
    assert (odd.reconstruction + odd.kl).median() > (usual.reconstruction + usual.kl).median() + 1
