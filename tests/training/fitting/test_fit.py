"""Tests of `fitting.fit`: determinism, resumption, early stopping, and that it learns."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from kilter.service.detector.columns import BooleanColumn, NumericColumn
from kilter.service.detector.errors import KilterError
from kilter.service.detector.findings import Epoch
from kilter.service.detector.networks.base import Network
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig
from kilter.training.fitting.fit import fingerprint, fit, folds, kl_weight, learning_rate

SCHEMA = Schema(
    (*(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(4)), BooleanColumn("b", ("1",), ("0",))), rows=300
)
BRIEF = FitConfig(steps=60, hidden=16, batch_rows=32, patience=100)


@pytest.fixture(scope="module")
def x() -> npt.NDArray[np.float32]:
    """300 encoded rows on a plane, with a flag and some missing values."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 2))
    x = np.column_stack([z, z @ [[1, 0.5], [0.5, -1]] + 0.05 * rng.normal(size=(300, 2)), z[:, 0] > 0])
    x[::17, 2] = np.nan
    return x.astype(np.float32)


def weights(network: Network) -> dict[str, torch.Tensor]:
    """The tensors of a network."""
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(a: Network, b: Network) -> bool:
    """Whether two networks are equal to the last bit."""
    return all(torch.equal(tensor, weights(b)[name]) for name, tensor in weights(a).items())


def test_one_seed_gives_one_network_and_another_seed_another(x: npt.NDArray[np.float32]) -> None:
    """Training is deterministic to the last bit, and the seed matters."""
    first, again, other = (fit(x, SCHEMA, BRIEF, seed=seed)[0] for seed in (3, 3, 4))
    assert same(first, again)
    assert not same(first, other)


def test_the_caller_s_random_state_does_not_matter(x: npt.NDArray[np.float32]) -> None:
    """What else has drawn random numbers in the process changes nothing, and is not disturbed."""
    first, _ = fit(x, SCHEMA, BRIEF, seed=3)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again, _ = fit(x, SCHEMA, BRIEF, seed=3)
    assert same(first, again)
    assert torch.equal(before, torch.get_rng_state())


def test_an_interrupted_fit_is_taken_up_and_ends_the_same(x: npt.NDArray[np.float32], tmp_path: Path) -> None:
    """Interrupted at any step, the fit ends with the very weights and history of one that was not."""
    path = tmp_path / "fit.safetensors"

    def interrupt(step: int, steps: int, epoch: Epoch | None) -> None:
        if step == 37:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(x, SCHEMA, BRIEF, seed=3, checkpoint=path, progress=interrupt)
    assert path.exists()
    steps: list[int] = []
    resumed, history = fit(x, SCHEMA, BRIEF, seed=3, checkpoint=path, progress=lambda step, *_: steps.append(step))
    whole, whole_history = fit(x, SCHEMA, BRIEF, seed=3)
    assert steps[0] > 1
    assert same(resumed, whole)
    assert history == whole_history
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_checkpoint_of_something_else_is_passed_over(
    content: bytes, x: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    """Neither a damaged checkpoint nor one of another fit spoils a fit."""
    path = tmp_path / "fit.safetensors"
    path.write_bytes(content)
    network, _ = fit(x, SCHEMA, BRIEF, seed=3, checkpoint=path)
    assert same(network, fit(x, SCHEMA, BRIEF, seed=3)[0])


def test_a_checkpoint_that_cannot_be_written_is_an_error(x: npt.NDArray[np.float32], tmp_path: Path) -> None:
    """It names the file, and nothing half-written stays beside it."""
    path = tmp_path / "fit.safetensors"
    path.mkdir()
    with pytest.raises(KilterError, match=r"cannot write the checkpoint .*fit\.safetensors"):
        fit(x, SCHEMA, BRIEF, seed=3, checkpoint=path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_of_another_fit_is_not_taken_up(x: npt.NDArray[np.float32], tmp_path: Path) -> None:
    """Other rows, another shape, setting, seed or device make another fit."""
    network, _ = fit(x, SCHEMA, BRIEF, seed=3)
    same_fit = fingerprint(x, network.shape, BRIEF, 3, "cpu")
    others = (
        fingerprint(x + 1, network.shape, BRIEF, 3, "cpu"),
        fingerprint(x, SCHEMA, BRIEF, 3, "cpu"),
        fingerprint(x, network.shape, FitConfig(steps=61), 3, "cpu"),
        fingerprint(x, network.shape, BRIEF, 4, "cpu"),
        fingerprint(x, network.shape, BRIEF, 3, "cuda"),
    )
    assert same_fit == fingerprint(x.copy(), network.shape, BRIEF, 3, "cpu")
    assert len({same_fit, *others}) == 6


def test_fitting_learns(x: npt.NDArray[np.float32]) -> None:
    """The held-out ELBO rises, and a row off the plane costs more than one on it."""
    network, history = fit(x, SCHEMA, FitConfig(steps=400, hidden=32), seed=0)
    assert max(epoch.held_out_elbo for epoch in history) > history[0].held_out_elbo + 1
    on = x[~np.isnan(x).any(axis=1)][:50]
    off = on.copy()
    off[:, 2] = -off[:, 2] + 2
    with torch.no_grad():
        views = [network.see(torch.from_numpy(rows)) for rows in (on, off)]
    normal, odd = (view.reconstruction + view.kl for view in views)
    assert odd.median() > normal.median() + 1


def test_fitting_stops_when_the_held_out_elbo_no_longer_improves(x: npt.NDArray[np.float32]) -> None:
    """On few rows the network overfits long before the last step; the best one is kept."""
    config = FitConfig(steps=3000, hidden=64, patience=3, warm_up=0.02, learning_rate=1e-2)
    _, history = fit(x[:40], SCHEMA, config, seed=0)
    best = max(history, key=lambda epoch: epoch.held_out_elbo)
    assert history[-1].step < 3000
    assert history.index(best) <= len(history) - 1 - 3


def test_each_member_is_blind_to_its_own_fold() -> None:
    """Seen and held-out rows of a member part all rows; members are blind to different rows."""
    seen, held_out = folds(53, 2, 0)
    for mine, blind in zip(seen, held_out, strict=True):
        assert sorted([*mine, *blind]) == list(range(53))
    assert not set(held_out[0]) & set(held_out[1])


def test_the_rows_of_an_entity_are_held_out_together() -> None:
    """From each member, whatever their number; and all rows are still parted."""
    entities = np.random.default_rng(0).integers(30, size=200)
    seen, held_out = folds(200, 2, 0, entities)
    for mine, blind in zip(seen, held_out, strict=True):
        assert sorted([*mine, *blind]) == list(range(200))
        assert len(blind)
        assert not set(entities[mine]) & set(entities[blind])


def test_the_learning_rate_rises_and_falls_to_nothing() -> None:
    """One cycle, its peak at the end of the warm-up."""
    rates = [learning_rate(step, FitConfig(steps=100)) for step in range(101)]
    assert np.argmax(rates) == 30
    assert rates[30] == pytest.approx(2e-3)
    assert rates[100] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("cycles", [1, 3, 4])
@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_the_kl_weight_rises_in_every_cycle_to_beta(cycles: int, beta: float) -> None:
    """From next to 0; once it is there it stays until the cycle ends."""
    config = FitConfig(steps=1200, warm_up=0.5, beta=beta, cycles=cycles)
    weights = [kl_weight(step, config) for step in range(1200)]
    length = 1200 // cycles
    for start in range(0, 1200, length):
        cycle = weights[start : start + length]
        assert cycle[0] == pytest.approx(beta / (length / 2))
        assert cycle == sorted(cycle)
        assert cycle[length // 2 :] == [beta] * (length - length // 2)


def test_a_model_has_its_own_beta_unless_another_is_given() -> None:
    """That of `beta-vae` is 4."""
    weights = [FitConfig(model=model, beta=beta).kl_weight for model in ("vae", "beta-vae") for beta in (None, 2.0)]
    assert weights == [1.0, 2.0, 4.0, 2.0]


def test_a_larger_beta_holds_codes_closer_to_the_prior(x: npt.NDArray[np.float32]) -> None:
    """The network that is kept is the one of the best weighted objective, and not of the warm-up."""
    found = {}
    for beta in (1.0, 4.0):
        network, history = fit(x, SCHEMA, FitConfig(steps=300, hidden=32, beta=beta), seed=0)
        with torch.no_grad():
            found[beta] = float(network.see(torch.from_numpy(x)).kl.mean())
        best = max(history, key=lambda epoch: epoch.objective(beta))
        assert best.step > 90
        assert best.held_out_kl is not None
        assert best.objective(1.0) == best.held_out_elbo
    assert found[4.0] < 0.8 * found[1.0]


def test_cycles_do_not_end_a_fit_before_the_last_rise(x: npt.NDArray[np.float32]) -> None:
    """However long ago the best epoch was."""
    config = FitConfig(steps=300, hidden=16, cycles=3, warm_up=0.5, patience=1)
    assert fit(x, SCHEMA, config, seed=0)[1][-1].step > 250
