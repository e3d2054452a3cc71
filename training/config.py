"""The settings of a training run, from defaults, a TOML file and the command line."""

import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from kilter.service.detector.errors import KilterError
from kilter.service.detector.networks.names import ScoreName
from kilter.training.rule import Rule, check


class FitConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the network is shaped and fitted: the table `[fit]` of a configuration file."""

    members: int = 2
    hidden: int | None = None
    """Units of each hidden layer: 64 of a member if not given, 128 of a network of pictures."""
    latent: int | None = None
    """Dimensions of the latent space; chosen from the number of features if not given."""
    components: int | None = None
    """Gaussians in the mixture of each numeric feature; 3 if not given, 1 for more than 200 features."""
    steps: int = 900
    """Upper bound: fitting stops earlier when the held-out ELBO no longer improves."""
    batch_rows: int | None = None
    """Rows of a step: 128 if not given, 64 of pictures."""
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warm_up: float = 0.3
    """Share of the steps over which the weight of the KL term rises from 0 to 1."""
    free_bits: float = 0.0
    """Nats that each latent dimension may hold at no cost; a collapse is remedied with some, whatever stands here."""
    clip_norm: float = 5.0
    patience: int = 6
    """Evaluations of the held-out ELBO without improvement before fitting stops."""
    threads: int = 1


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A training run, whatever its data."""

    target_fpr: float | None = None
    """None: the smallest of 0.01, 0.02, 0.05, 0.1 that the data can support."""
    threshold: Rule = Rule()
    """How the rate is chosen if not by `target_fpr`."""
    score: ScoreName = "neighbours"
    memory_rows: int | None = None
    """Most rows that the memory of the score `neighbours` holds: 4,096 of a table, fewer if it has many columns, and
    2,048 pictures or patches of them if not given."""
    seed: int = 0
    split: Literal["auto", "random", "time"] = "auto"
    device: str = "auto"
    baselines: bool = True
    """Whether simple detectors are fitted to the same rows, to compare."""
    fit: FitConfig = FitConfig()


def read_config(path: Path | None, **overrides: Any) -> TrainConfig:
    """The configuration of a TOML file (or the defaults), with every override that is not None on top.

    Raises KilterError that names the file and the key.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise KilterError(f"{path}: not a TOML file: {error}") from None
    given = {key: value for key, value in overrides.items() if value is not None}
    if {"target_fpr", "threshold"} & given.keys():  # one way to choose a threshold replaces another
        values = {key: value for key, value in values.items() if key not in ("target_fpr", "threshold")}
    values |= given
    try:
        config = msgspec.convert(values, TrainConfig)
    except msgspec.ValidationError as error:
        raise KilterError(f"{path or 'settings'}: {error}") from None
    check(config.threshold, config.target_fpr)
    return checked(msgspec.structs.replace(config, target_fpr=config.threshold.rate(config.target_fpr)))


def checked(config: TrainConfig) -> TrainConfig:
    """The configuration, if its values make sense. Raises KilterError."""
    fit = config.fit
    bounds: list[tuple[str, float | None, float, float]] = [
        ("target_fpr", config.target_fpr, 1e-5, 0.5),
        ("fit.members", fit.members, 1, 16),
        ("fit.hidden", fit.hidden, 1, 4096),
        ("fit.latent", fit.latent, 1, 512),
        ("fit.components", fit.components, 1, 16),
        ("fit.steps", fit.steps, 1, 10_000_000),
        ("fit.batch_rows", fit.batch_rows, 2, 1_000_000),
        ("fit.learning_rate", fit.learning_rate, 1e-8, 1.0),
        ("fit.weight_decay", fit.weight_decay, 0.0, 1.0),
        ("fit.warm_up", fit.warm_up, 0.0, 1.0),
        ("fit.free_bits", fit.free_bits, 0.0, 10.0),
        ("fit.clip_norm", fit.clip_norm, 1e-6, 1e6),
        ("fit.patience", fit.patience, 1, 1_000_000),
        ("fit.threads", fit.threads, 1, 1024),
        ("memory_rows", config.memory_rows, 16, 65_536),
        ("seed", config.seed, 0, 2**63 - 1),
    ]
    for name, value, low, high in bounds:
        if value is not None and not low <= value <= high:
            raise KilterError(f"{name} must be from {low:g} to {high:g}, not {value:g}")
    return config
