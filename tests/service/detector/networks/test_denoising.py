"""Denoising autoencoders: what is shown is spoilt, and what is asked for is not."""

import numpy as np
import torch

from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, NumericColumn
from kilter.service.detector.networks.denoising import COARSENESS, NOISE, PictureDenoiser, TabularDenoiser
from kilter.service.detector.networks.pictures import PictureShape
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig
from kilter.training.fitting.fit import fit

SCHEMA = Schema(
    (
        NumericColumn("n", 0, 1, -3, 3),
        BooleanColumn("b", ("1",), ("0",)),
        CategoricalColumn("c", levels=("x", "y"), counts=(50, 50)),
    ),
    rows=100,
)


def test_of_a_table_numbers_have_noise_and_nothing_else_has() -> None:
    """What reaches the encoder differs from the record in numbers, and in what is hidden."""
    torch.manual_seed(0)
    network = TabularDenoiser.untrained(SCHEMA, FitConfig(members=1, hidden=8, latent=2)).eval()
    shown: list[tuple[torch.Tensor, torch.Tensor]] = []
    encode = network.encode_masked
    network.encode_masked = lambda dense, seen: shown.append((dense, seen)) or encode(dense, seen)  # type: ignore[func-returns-value, method-assign]
    inputs = torch.tensor([[[0.5, 1.0, 0.0]]]).repeat(1, 4000, 1)
    posterior = network.shown(inputs, torch.Generator().manual_seed(0))
    ((dense, seen),) = shown
    kept = seen > 0
    number = dense[..., 0][kept[..., 0]]
    assert abs(float(number.mean()) - 0.5) < 0.02
    assert abs(float(number.std()) - NOISE) < 0.02
    assert set(dense[..., 1][kept[..., 1]].tolist()) == {1.0}
    assert 0.5 < float(seen.mean()) < 0.9
    assert torch.equal(posterior.draw(torch.Generator()), posterior.mean)


def test_of_a_picture_noise_is_smooth_and_of_any_strength() -> None:
    """Neighbouring pixels have nearly the same noise; the picture to give back is the clean one."""
    torch.manual_seed(0)
    network = PictureDenoiser(PictureShape(16, 16, 1, 8, 3)).eval()
    shown: list[torch.Tensor] = []
    encode = network.encode
    network.encode = lambda inputs: shown.append(inputs) or encode(inputs)  # type: ignore[func-returns-value, method-assign]
    network.shown(torch.zeros(2000, 1, 16, 16), torch.Generator().manual_seed(0))
    (noise,) = shown
    apart = (noise[..., 1:] - noise[..., :-1]).std()
    assert float(apart) < 0.5 * float(noise.std())
    strengths = noise.flatten(1).std(1)
    assert float(strengths.max()) < 2 * NOISE * COARSENESS
    assert float(strengths.min()) < 0.1


def test_it_fills_in_a_hidden_field_better_than_a_plain_autoencoder() -> None:
    """Two numbers that are the same: of the one that is hidden, the denoiser makes the other."""
    rng = np.random.default_rng(0)
    number = rng.normal(size=400)
    x = np.column_stack([number, number, rng.normal(size=400)]).astype(np.float32)
    schema = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(3)), rows=400)
    hidden = torch.from_numpy(x.copy())
    hidden[:, 1] = torch.inf
    errors = []
    for model in ("dae", "ae"):
        network, _ = fit(x, schema, FitConfig(model=model, steps=300, hidden=32, latent=2), seed=0)
        with torch.no_grad():
            made = network.expected(hidden, network.see(hidden).likelihood)[:, 1]
        errors.append(float((made - torch.from_numpy(x)[:, 1]).square().mean()))
    assert errors[0] < 0.15
    assert errors[0] < 0.5 * errors[1]
