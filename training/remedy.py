"""What is done about a posterior that collapsed: it is fitted anew with free bits, and the better fit is kept."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from kilter.service.detector.networks.tabular import TabularVAE
from kilter.service.detector.schema import Schema
from kilter.training.activity import activity
from kilter.training.config import FitConfig
from kilter.training.dependence import dependence
from kilter.training.fit import HELD_OUT_ROWS, fit, folds
from kilter.training.history import Epoch
from kilter.training.networks import Network, device_of, surprise

FREE_BITS = 0.1
WARM_UP = 0.6
DRAWS = 16

Matrix = npt.NDArray[np.float32]


class Remedy(msgspec.Struct, frozen=True):
    """What was done about a collapsed posterior, and what came of it. ELBOs are in nats per record."""

    columns: tuple[str, str] | None
    """The two columns that tell most about each other; None where columns are independent and nothing was done."""
    nats: float = 0.0
    """How much they tell."""
    elbo: float | None = None
    """Held-out ELBO of the fit that collapsed."""
    remedied_elbo: float | None = None
    """That of the fit with free bits."""

    @property
    def helped(self) -> bool:
        """Whether the second fit is better, and was kept."""
        return self.elbo is not None and self.remedied_elbo is not None and self.remedied_elbo > self.elbo

    @property
    def needless(self) -> bool:
        """Whether the collapse was right."""
        return self.columns is None

    @property
    def sentence(self) -> str:
        """What happened, and what to do where the remedy did not help."""
        if self.columns is None or self.elbo is None or self.remedied_elbo is None:
            return (
                "The latent space stays as good as empty, and rightly so: no column tells anything about another that "
                "the fitting rows could prove. Records are judged by each column alone."
            )
        first, second = self.columns
        start = f"The posterior collapsed, although {first!r} and {second!r} tell {self.nats:.2g} nats about each other"
        tried = f"held-out ELBO {self.remedied_elbo:.2f} nats, {self.elbo:.2f} before"
        if self.helped:
            return (
                f"{start}: the network was fitted again with free bits and a longer warm-up, and is better ({tried})."
            )
        return (
            f"{start}, and fitting again with free bits and a longer warm-up made it no better ({tried}): the first "
            "fit was kept. Try more fit.steps, a smaller fit.weight_decay, or the score reconstruction; and compare "
            "with the simple detectors in the report."
        )


class Outcome(NamedTuple):
    """The fit that was kept, and what was done if the first one had collapsed."""

    network: Network
    history: list[Epoch]
    remedy: Remedy | None


def fit_or_remedy(
    x: Matrix,
    schema: Schema,
    config: FitConfig,
    *,
    seed: int,
    device: str = "cpu",
    checkpoint: Path | None = None,
    progress: Callable[[int, int, Epoch | None], None] = lambda step, steps, epoch: None,
) -> Outcome:
    """`fit.fit`, and once more with free bits and a longer warm-up if the posterior collapsed.

    Where columns are independent a collapse is right, and nothing is done. The fits are compared by the ELBO of rows
    that each member did not see, with z drawn: at the posterior mean it is no bound, and favours free bits.
    """
    network, history = fit(x, schema, config, seed=seed, device=device, checkpoint=checkpoint, progress=progress)
    if not isinstance(network, TabularVAE) or not activity(network, x).collapsed:
        return Outcome(network, history, None)
    found = dependence(x, network.shape.features)
    if found is None:
        return Outcome(network, history, Remedy(None))
    gentler = msgspec.structs.replace(
        config, free_bits=max(config.free_bits, FREE_BITS), warm_up=max(config.warm_up, WARM_UP)
    )
    second = checkpoint.with_stem(f"{checkpoint.stem}-remedy") if checkpoint else None
    other, after = fit(x, schema, gentler, seed=seed, device=device, checkpoint=second, progress=progress)
    first, last = found.columns
    remedy = Remedy(
        (schema.names[first], schema.names[last]),
        found.nats,
        held_out_elbo(network, x, seed),
        held_out_elbo(other, x, seed),
    )
    return Outcome(other, after, remedy) if remedy.helped else Outcome(network, history, remedy)


def held_out_elbo(network: Network, x: Matrix, seed: int) -> float:
    """Mean ELBO over the members and the fitting rows, x of shape (n, features), to which each is blind; z is drawn."""
    held_out = folds(len(x), network.shape.members, seed)[1]
    size = min(HELD_OUT_ROWS, min(map(len, held_out)))
    device = device_of(network)
    generator = torch.Generator(device).manual_seed(seed)
    rows = torch.from_numpy(x[np.stack([part[:size] for part in held_out])]).to(device)
    total = 0.0
    with torch.no_grad():
        posterior = network.posterior(rows)
        for _ in range(DRAWS):
            noise = torch.randn(posterior.mean.shape, generator=generator, device=device)
            z = posterior.mean + noise * (0.5 * posterior.log_variance).exp()
            terms = network.column_terms(rows, surprise(network, rows, z))
            total -= float((terms.sum(-1) + posterior.kl()).mean())
    return total / DRAWS
