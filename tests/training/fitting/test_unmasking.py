"""The network that gives the chances of a field's codes, given others."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

from kilter.service.detector.columns import CategoricalColumn, NumericColumn
from kilter.service.detector.generation.fields import FieldCodes
from kilter.service.detector.generation.unmasking import UnmaskingShape
from kilter.training.fitting import unmasking
from kilter.training.fitting.unmasking import CodeWeights, UnmaskingNetwork, basis_of, export_unmasking, fit_unmasking

NUMBER, COLOUR = NumericColumn("x", 0.0, 1.0, 0.0, 0.0), CategoricalColumn("c", ("red", "blue"), (50, 50))


@pytest.fixture(scope="module")
def fields() -> list[FieldCodes]:
    """A field of numbers with missing ones, and one of two levels."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=900)
    values[::9] = np.nan
    return [FieldCodes.fit(NUMBER, values), FieldCodes.fit(COLOUR, np.array(["red", "blue"] * 450, object))]


@pytest.fixture(scope="module")
def fitted(fields: list[FieldCodes]) -> UnmaskingNetwork:
    """Fitted to rows in which the number is positive where the level is red, and missing half of the time if blue."""
    rng = np.random.default_rng(1)
    red = rng.random(1200) < 0.5
    values = np.where(red, 1.0, -1.0) * np.abs(rng.normal(size=1200))
    values[~red & (rng.random(1200) < 0.5)] = np.nan
    columns = values, np.where(red, "red", "blue").astype(object)
    codes = torch.from_numpy(np.stack([field.encode(part) for field, part in zip(fields, columns, strict=True)], 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unmasking, "STEPS", 250)
        return fit_unmasking(fields, codes[:900], codes[900:], 0)


@pytest.fixture(scope="module")
def program(fitted: UnmaskingNetwork, fields: list[FieldCodes]) -> ort.InferenceSession:
    """Its program."""
    return ort.InferenceSession(export_unmasking(fitted, UnmaskingShape(tuple(one.shape for one in fields))))


def chances(program: ort.InferenceSession, codes: list[int], field: int) -> list[float]:
    given = {"codes": np.array([codes]), "field": np.array([field])}
    made: list[float] = program.run(["chances"], given)[0][0].tolist()
    return made


def test_neighbouring_numbers_have_weights_in_common(fields: list[FieldCodes]) -> None:
    """Those of numbers that are far apart are less alike; a level and a missing value have weights of their own."""
    known, basis = fields[0].shape.known, basis_of(fields)
    assert basis.own[known:].tolist() == [1, 1, 1]
    torch.manual_seed(0)
    weights = CodeWeights(basis, 20_000, 1.0)().detach()
    alike = (weights @ weights.T / 20_000).numpy()
    assert alike[3, 4] > alike[3, 8] > alike[3, known - 1]
    np.testing.assert_allclose(alike[known:, known:], np.eye(3), atol=0.05)
    np.testing.assert_allclose(alike[known:, :known], 0, atol=0.05)


def test_the_chances_are_learned(program: ort.InferenceSession, fields: list[FieldCodes]) -> None:
    """Of a number given a level, of a level given a number, of a missing value, and of each with nothing given."""
    missing, size = fields[0].shape.known, fields[0].shape.size
    red, blue = (chances(program, [size, level], 0) for level in (0, 1))
    half = missing // 2
    assert sum(red[half + 1 : missing]) > 0.85
    assert sum(blue[:half]) > 0.35
    assert blue[missing] == pytest.approx(0.5, abs=0.12)
    assert red[missing] < 0.05
    assert chances(program, [missing - 2, 2], 1)[0] > 0.9
    assert chances(program, [size, 2], 1)[0] == pytest.approx(0.5, abs=0.1)
    assert chances(program, [size, 2], 1)[2:] == pytest.approx([0] * (size - 2))
    assert sum(red) == pytest.approx(1, abs=1e-5)


def test_the_program_gives_what_the_network_gives(
    fitted: UnmaskingNetwork, program: ort.InferenceSession, fields: list[FieldCodes]
) -> None:
    """The surprise is minus the log of the chance, of one member each."""
    codes, mask = torch.tensor([[3, 1]]), torch.tensor([[True, False]])
    with torch.no_grad():
        surprise = fitted.surprise(codes, mask)[:, 0, 0]
    chance = chances(program, [fields[0].shape.size, 1], 0)[3]
    assert float((-surprise).exp().mean()) == pytest.approx(chance, rel=1e-4)


def test_the_same_seed_gives_the_same_network(fields: list[FieldCodes], monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves torch's own generator as it was."""
    monkeypatch.setattr(unmasking, "STEPS", 3)
    codes = torch.zeros(40, 2, dtype=torch.int64)
    state = torch.random.get_rng_state()
    one, same, other = (fit_unmasking(fields, codes, codes[:5], seed).hidden for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.random.get_rng_state())
