"""The settings of a training run, from defaults, a TOML file and the command line."""

import tomllib
from itertools import permutations
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from kilter.service.detector.errors import KilterError
from kilter.service.detector.manifest import HIGHEST_RATE, Way
from kilter.service.detector.networks import MODELS, NETWORKS, network_kind
from kilter.service.detector.scores import SCORES, VAE, check_score, detector_names

if TYPE_CHECKING:
    from kilter.service.detector.networks.layers import LayerBuild

KINDS = ("categorical", "numeric", "timestamp", "ignore")
"""The settings that name columns, and say what each is to be taken for."""
CONDITIONAL = "cvae"
"""The model that judges given the value of a column."""
AUTO = "auto"
"""The detector that is chosen by how well each separates normal rows from others."""
MAX_ROWS = 500_000  # most rows of tables in files that are used, if it is not said
WAYS: dict[Way, tuple[str, ...]] = {
    "alerts-per-day": ("alerts_per_day", "records_per_day"),
    "f-beta": ("f_beta",),
    "cost": ("cost_false_alarm", "cost_miss"),
    "recall-at-precision": ("recall_at_precision",),
}
"""The ways to choose a threshold, with the fields of a `Rule` that each needs."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the threshold is chosen: the table `[threshold]` of a configuration file. At most one way at a time."""

    alerts_per_day: float | None = None
    records_per_day: float | None = None
    f_beta: float | None = None
    cost_false_alarm: float | None = None
    cost_miss: float | None = None
    recall_at_precision: float | None = None
    anomaly_rate: float | None = None
    """Share of anomalies among the records to come; that of the labelled rows if not given."""

    @property
    def inputs(self) -> dict[str, float]:
        """The fields that were given, by name."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}

    @property
    def ways(self) -> list[Way]:
        """The ways that were asked for; `check_rule` sees to it that there is at most one."""
        return [way for way, names in WAYS.items() if self.inputs.keys() & {*names}]

    @property
    def way(self) -> Way | None:
        """The one way that was asked for."""
        return self.ways[0] if self.ways else None

    @property
    def needs_labels(self) -> bool:
        return self.way not in (None, "alerts-per-day")

    def rate(self, target_fpr: float | None) -> float | None:
        """The target false-positive rate before labels are looked at: N / M for alerts per day, else `target_fpr`."""
        if self.alerts_per_day is not None and self.records_per_day is not None:
            return self.alerts_per_day / self.records_per_day
        return target_fpr


def check_rule(rule: Rule, target_fpr: float | None) -> None:
    """Raise KilterError unless a rule and a rate make one way, complete and in range."""
    ways = [*(["target-fpr"] if target_fpr is not None else []), *rule.ways]
    if len(ways) > 1:
        first, second = ("--cost-false-alarm" if way == "cost" else f"--{way}" for way in ways[:2])
        raise KilterError(f"a threshold is chosen in one way: {first} and {second} are two, so leave one out")
    for option, absent in (pair for names in WAYS.values() for pair in permutations(names, 2)):
        if option in rule.inputs and absent not in rule.inputs:
            raise KilterError(f"{_option(option)} says nothing without {_option(absent)}: give both")
    if rule.anomaly_rate is not None and not rule.needs_labels:
        raise KilterError(
            "--anomaly-rate goes with a way that uses labels: --f-beta, --cost-miss or --recall-at-precision"
        )
    for name, value in rule.inputs.items():
        share = name in ("recall_at_precision", "anomaly_rate")
        if not 0 < value < (1 if share else float("inf")):
            raise KilterError(
                f"{_option(name)} is {'between 0 and 1' if share else 'a positive number'}, not {value:g}"
            )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


class FitConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the network is shaped and fitted: the table `[fit]` of a configuration file, as docs/training.md explains it.

    What is None is chosen by the network, or by the data.
    """

    model: str = "vae"
    """One of `networks.MODELS`; or else a kind of network, by `network`."""
    network: str | None = None
    condition_on: str | None = None
    """The column given whose value the model `cvae` judges."""
    members: int = 2
    hidden: int | None = None
    latent: int | None = None
    components: int | None = None
    sigma: float | None = None
    steps: int = 900
    batch_rows: int | None = None
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    beta: float | None = None
    warm_up: float = 0.3
    cycles: int = 1
    free_bits: float = 0.0
    clip_norm: float = 5.0
    patience: int = 6
    threads: int = 1
    depth: int = 2
    """See `networks.layers.LayerBuild`; so on for the next three."""
    skip: bool = False
    batch_norm: bool = False
    dropout: float = 0.0

    @property
    def build(self) -> "LayerBuild":
        """How hidden layers are built."""
        from kilter.service.detector.networks.layers import LayerBuild  # imports torch

        return LayerBuild(self.depth, self.skip, self.batch_norm, self.dropout)

    def network_of(self, modality: str) -> str:
        """The kind of network of a modality. Raises KilterError if the model is not for it."""
        return self.network or network_kind(self.model, modality)

    @property
    def kl_weight(self) -> float:
        """The weight of the KL term once it has risen: `beta`, or that of the model."""
        return MODELS[self.model].beta if self.beta is None else self.beta


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A training run, whatever its data; docs/training.md explains each setting."""

    target_fpr: float | None = None
    threshold: Rule = Rule()
    detector: str = VAE
    """`vae`, the name of a score that has a network of its own, or `auto`."""
    score: str = "neighbours"
    memory_rows: int | None = None
    max_rows: int = MAX_ROWS
    """Most rows of tables in files that are used; of more a sample, drawn at random."""
    seed: int = 0
    split: Literal["auto", "random", "time"] = "auto"
    split_by: str | None = None
    device: str = "auto"
    baselines: bool = True
    generator: bool = False
    row_numbers: bool = True
    """Whether the artifact holds the numbers, and of pictures the names, of the records that the score remembers."""
    categorical: tuple[str, ...] = ()
    """Columns that are taken for categories, whatever they look like; so on for the next three."""
    numeric: tuple[str, ...] = ()
    timestamp: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fit: FitConfig = FitConfig()


BOUNDS: dict[str, tuple[float, float]] = {
    "target_fpr": (1e-5, HIGHEST_RATE),
    "fit.members": (1, 16),
    "fit.hidden": (1, 4096),
    "fit.latent": (1, 512),
    "fit.components": (1, 16),
    "fit.sigma": (0.01, 10.0),
    "fit.steps": (1, 10_000_000),
    "fit.batch_rows": (2, 1_000_000),
    "fit.learning_rate": (1e-8, 1.0),
    "fit.weight_decay": (0.0, 1.0),
    "fit.beta": (0.0, 1000.0),
    "fit.warm_up": (0.0, 1.0),
    "fit.cycles": (1, 100),
    "fit.free_bits": (0.0, 10.0),
    "fit.clip_norm": (1e-6, 1e6),
    "fit.patience": (1, 1_000_000),
    "fit.threads": (1, 1024),
    "fit.depth": (1, 16),
    "fit.dropout": (0.0, 0.9),
    "memory_rows": (16, 65_536),
    "max_rows": (1_000, 1_000_000_000),
    "seed": (0, 2**63 - 1),
}


def read_config(path: Path | None, **overrides: Any) -> TrainConfig:
    """The configuration of a TOML file (or the defaults), with every override that is not None on top.

    An override may name a setting of `[fit]` without its table. Raises KilterError that names the file and the key, or
    the setting that is out of range.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text())
        except FileNotFoundError:
            raise KilterError(f"there is no file {path}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise KilterError(f"{path}: not a TOML file: {error}") from None
    wanted = {key: value for key, value in overrides.items() if value is not None}
    if {"target_fpr", "threshold"} & wanted.keys():  # one way to choose a threshold replaces another
        values = {key: value for key, value in values.items() if key not in ("target_fpr", "threshold")}
    shaping = {key: wanted.pop(key) for key in FitConfig.__struct_fields__ if key in wanted}
    values |= wanted
    if shaping and isinstance(values.setdefault("fit", {}), dict):
        values["fit"] = values["fit"] | shaping
    for table, settings in (("", TrainConfig), ("fit.", FitConfig), ("threshold.", Rule)):
        given = values.get(table[:-1]) if table else values
        for key in set(given if isinstance(given, dict) else ()).difference(known := settings.__struct_fields__):
            raise KilterError(f"{path or 'settings'}: there is no setting {table}{key}; there are {', '.join(known)}")
    try:
        config = msgspec.convert(values, TrainConfig)
    except msgspec.ValidationError as error:
        raise KilterError(f"{path or 'settings'}: {error}") from None
    if config.fit.condition_on is not None and config.fit.model == VAE:
        config = msgspec.structs.replace(config, fit=msgspec.structs.replace(config.fit, model=CONDITIONAL))
    check_rule(config.threshold, config.target_fpr)
    config = msgspec.structs.replace(config, target_fpr=config.threshold.rate(config.target_fpr))
    if config.detector not in (*detector_names(), AUTO):
        raise KilterError(f"there is no detector {config.detector!r}: there are {', '.join(detector_names())} and auto")
    check_score(config.score)
    if config.detector not in (VAE, AUTO):
        of_vae = {"score": "score" in values, "fit.network": config.fit.network, "fit.model": config.fit.model != VAE}
        for key, given in of_vae.items():
            if given:
                raise KilterError(
                    f"{key} is a setting of the detector vae, and {config.detector} has its own: leave one of the two "
                    "out"
                )
    if config.fit.model not in MODELS:
        raise KilterError(f"there is no model {config.fit.model!r}: there are {', '.join(MODELS)}")
    if config.fit.condition_on is None and config.fit.model == CONDITIONAL:
        raise KilterError(
            f"the model {CONDITIONAL} needs a column that it is conditional on: name it by --condition-on"
        )
    if config.fit.condition_on is not None and config.fit.model != CONDITIONAL:
        raise KilterError(
            f"--condition-on is for the model {CONDITIONAL}, not for {config.fit.model}: leave one of the two out"
        )
    if config.fit.network is not None and config.fit.network not in NETWORKS:
        raise KilterError(f"fit.network {config.fit.network!r}: there are the networks {', '.join(NETWORKS)}")
    if config.fit.network is not None and config.fit.model != VAE:
        raise KilterError(f"fit.network and the model {config.fit.model!r} are two: leave one of them out")
    for name, (low, high) in BOUNDS.items():
        value = attrgetter(name)(config)
        if value is not None and not low <= value <= high:
            raise KilterError(f"{name} must be from {low:g} to {high:g}, not {value:g}")
    return config


def with_detector(config: TrainConfig, detector: str) -> TrainConfig:
    """The configuration by which a detector, and not `auto`, is fitted: with its score and its kind of network."""
    network = None if detector == VAE else SCORES[detector].network
    if network is None:
        return config
    return msgspec.structs.replace(config, score=detector, fit=msgspec.structs.replace(config.fit, network=network))
