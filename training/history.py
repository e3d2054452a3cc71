"""The history of a fit."""

import msgspec


class Epoch(msgspec.Struct, frozen=True):
    """What the fit looked like at one evaluation; every figure in nats per record."""

    step: int
    loss: float
    """What the optimiser minimised (masked records, KL weighted by the warm-up), mean since the last evaluation."""
    reconstruction: float
    kl: float
    held_out_elbo: float
    """Mean ELBO of whole records that the member never saw, averaged over members; it decides when to stop."""
