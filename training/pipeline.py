"""From files to a model on disk: read, infer, split, fit, calibrate, evaluate, package, and prove it by loading it."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch

import service
from service.detector import artifact, store
from service.detector.calibration import Calibration
from service.detector.detector import Detector, load
from service.detector.encode import encode
from service.detector.errors import KilterError
from service.detector.inputs import Table
from service.detector.networks.scored import ScoredShape, ScoredTabular
from service.detector.runtime import OnnxProgram
from service.detector.schema import Schema
from service.detector.scorer import Scorer
from service.files import read_frame, to_table
from training import calibrate
from training.card import model_card
from training.config import TrainConfig
from training.evaluate import Evaluation, evaluate
from training.export import export
from training.fit import fit
from training.history import Epoch
from training.infer import Decision, infer
from training.labels import Labels, read_labels
from training.probes import make_probes
from training.report import report
from training.rows import take
from training.run import Latent, Run, Scored
from training.split import Split, split, time_of
from training.statistics import fit_schema

DIGITS = 6
TOLERANCE = 1e-4
TOO_MANY_BAD = 0.2
"""Training stops when more than this share of the rows cannot be read."""
LATENT_ROWS = 2_000
LIBRARIES = ("numpy", "onnx", "onnxruntime", "onnxscript", "polars", "safetensors", "scikit-learn", "torch")


@dataclass(frozen=True)
class Source:
    """What to train on, and which of its columns play a part of their own."""

    paths: tuple[Path, ...]
    label: str | None = None
    normal: str | None = None
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Data:
    """The rows of the training files, typed, and what was decided about their columns."""

    table: Table
    decisions: tuple[Decision, ...]
    draft: Schema
    labels: Labels | None
    notes: tuple[str, ...]
    source: Source

    @property
    def readable(self) -> npt.NDArray[np.bool_]:
        """(rows,): whether a row has no problem."""
        good = np.ones(self.table.rows, bool)
        good[[problem.row for problem in self.table.problems if problem.row is not None]] = False
        return good


@dataclass(frozen=True)
class Fitted:
    """A fitted and calibrated model that is not yet on disk."""

    scorer: Scorer
    calibration: Calibration
    module: ScoredTabular
    program: bytes
    history: list[Epoch]
    split: Split


def read(source: Source) -> Data:
    """Read and type the training files. Raises KilterError for files, columns or labels that cannot be used."""
    frame, text, decimal, notes = read_frame(source.paths)
    missing = [name for name in source.exclude if name not in frame.columns]
    if missing:
        raise KilterError(f"--exclude names {missing[0]!r}, and there is no such column: {', '.join(frame.columns)}")
    labels = read_labels(frame, source.label, source.normal) if source.label is not None else None
    draft = infer(frame, text=text, decimal=decimal, exclude=source.exclude, label=source.label)
    table = to_table(draft.schema, frame, text=text)
    data = Data(table, tuple(draft.decisions), draft.schema, labels, tuple([*notes, *_unread(table)]), source)
    if not data.readable.mean() >= 1 - TOO_MANY_BAD:
        bad = int((~data.readable).sum())
        raise KilterError(
            f"{bad:,} of {table.rows:,} rows cannot be read, first of all {table.problems[0]}: is this the right file?"
        )
    return data


def _unread(table: Table) -> list[str]:
    bad = {problem.row for problem in table.problems}
    return [f"{len(bad):,} of {table.rows:,} rows were left out, the first for {table.problems[0]}."] if bad else []


def fit_model(
    data: Data,
    config: TrainConfig,
    *,
    checkpoint: Path | None = None,
    progress: Callable[[int, int, Epoch | None], None] = lambda step, steps, epoch: None,
) -> Fitted:
    """Split, fit, export and calibrate."""
    normal = np.flatnonzero(data.readable if data.labels is None else data.readable & ~data.labels.anomalous)
    parts = split(normal, config.target_fpr, config.seed, time_of(data.draft, data.table, config.split))
    schema = fit_schema(data.draft, data.table, parts.fit)
    x = encode(schema, take(data.table, parts.fit))
    device = _device(config.device)
    network, history = fit(
        x, schema, config.fit, seed=config.seed, device=device, checkpoint=checkpoint, progress=progress
    )
    module = ScoredTabular(ScoredShape(network.shape, config.score))
    module.network.load_state_dict(network.cpu().state_dict())
    module.eval()
    with torch.no_grad():
        module.usual.copy_(module(torch.from_numpy(x[:LATENT_ROWS]))[3].median(0).values)
    program = export(module, x.shape[1])
    scorer = Scorer(schema, OnnxProgram(program))
    scores = scorer.score(take(data.table, parts.calibration)).score
    return Fitted(scorer, Calibration.of(scores, parts.rate, DIGITS), module, program, history, parts)


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def train(
    source: Source,
    name: str,
    models: Path,
    config: TrainConfig,
    *,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int, Epoch | None], None] = lambda step, steps, epoch: None,
) -> tuple[Detector, Path, Evaluation]:
    """Train a model and write it as the next version; return it as loaded from disk, its folder and its evaluation.

    Raises KilterError for whatever the user can put right. Nothing is written unless all of it succeeds, but for a
    checkpoint that an interrupted run leaves behind and the next one takes up.
    """
    store.check_name(name)
    data = read(source)
    for decision in data.decisions:
        say(f"  {decision.name}: {decision.kind} ({decision.why})")
    for note in data.notes:
        say(note)
    fitted = fit_model(
        data, config, checkpoint=models / name / ".fit.safetensors", progress=progress
    )
    packed: list[Evaluation] = []

    def files(version: int) -> dict[str, bytes]:
        content, evaluation = package(data, fitted, config, name, version)
        packed.append(evaluation)
        return content

    folder = store.add(models, name, files)
    return load(folder), folder, packed[-1]


def package(data: Data, fitted: Fitted, config: TrainConfig, name: str, version: int) -> tuple[dict[str, bytes], Evaluation]:
    """The files of the artifact, and its evaluation on rows that neither fitting nor calibration saw."""
    parts, scorer, calibration = fitted.split, fitted.scorer, fitted.calibration
    probes = make_probes(scorer, calibration, config.seed)
    tensors: dict[str, npt.NDArray[Any]] = {
        f"{artifact.NETWORK_PREFIX}{key}": tensor.numpy() for key, tensor in fitted.module.state_dict().items()
    }
    tensors[artifact.CALIBRATION_SCORES] = calibration.scores
    manifest = artifact.Manifest(
        format=artifact.FORMAT,
        name=name,
        version=version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        schema=scorer.schema,
        network=msgspec.to_builtins(fitted.module.shape),
        score=artifact.ScoreInfo(config.score, "nats", DIGITS, TOLERANCE),
        calibration=calibrate.info(calibration, parts.how),
        training=provenance(data, fitted, config),
        libraries={"kilter": service.__version__, **{name: library_version(name) for name in LIBRARIES}},
        tensors={key: tensor.shape for key, tensor in tensors.items()},
    )
    detector = Detector(manifest, scorer.program, calibration, probes)
    run = _run(data, fitted, config, detector)
    manifest.training["evaluation"] = msgspec.to_builtins(run.evaluation)
    files = artifact.pack(
        manifest,
        tensors,
        fitted.program,
        probes,
        report__html=report(run).encode(),
        MODEL_CARD__md=model_card(run).encode(),
    )
    return files, run.evaluation


def provenance(data: Data, fitted: Fitted, config: TrainConfig) -> dict[str, Any]:
    """Where the model comes from: files with checksums, rows by use, settings, seed, and how the fit went."""
    parts = fitted.split
    return {
        "files": [
            {"name": path.name, "bytes": path.stat().st_size, "sha256": _digest(path)} for path in data.source.paths
        ],
        "rows": data.table.rows,
        "sizes": {"fit": len(parts.fit), "calibration": len(parts.calibration), "held_out": len(parts.held_out)},
        "label": data.source.label,
        "normal": data.source.normal,
        "settings": msgspec.to_builtins(config),
        "history": msgspec.to_builtins(fitted.history[-1:]),
        "notes": list(data.notes),
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _run(data: Data, fitted: Fitted, config: TrainConfig, detector: Detector) -> Run:
    """Everything that the report and the card show."""
    parts = fitted.split
    held = parts.held_out
    anomalous = np.flatnonzero(data.labels.anomalous & data.readable) if data.labels else held[:0]
    notes = list(data.notes)
    judged = held
    if not len(held) and len(anomalous):
        judged = parts.calibration
        notes.append(
            "There were too few rows to hold some out: ranking figures compare anomalies with the calibration rows, "
            "and the false-positive rate on these is what it was set to."
        )
    elif not len(held):
        notes.append("There were too few rows to hold some out, so the false-positive rate was not checked.")
    rows = np.concatenate([judged, anomalous])
    is_anomaly = np.arange(len(rows)) >= len(judged)
    evaluation = evaluate(
        detector, take(data.table, rows), is_anomaly if len(anomalous) else None, seed=config.seed
    )
    return Run(
        manifest=detector.manifest,
        decisions=data.decisions,
        history=fitted.history,
        detector=detector,
        calibration_scores=fitted.calibration.scores,
        evaluation=evaluation,
        held_out=_scored(detector, take(data.table, held)) if len(held) else None,
        anomalies=_scored(detector, take(data.table, anomalous)) if len(anomalous) else None,
        latent=_latent(data, fitted, rows, is_anomaly),
        notes=notes,
    )


def _scored(detector: Detector, table: Table) -> Scored:
    return Scored(table, detector.score(table, errors="mark").score)


def _latent(data: Data, fitted: Fitted, rows: npt.NDArray[np.int64], is_anomaly: npt.NDArray[np.bool_]) -> Latent | None:
    """The latent means of a sample of the judged rows."""
    if not len(rows):
        return None
    picked = np.sort(np.random.default_rng(0).permutation(len(rows))[:LATENT_ROWS])
    table = take(data.table, rows[picked])
    x = torch.from_numpy(encode(fitted.scorer.schema, table))
    network = fitted.module.network
    with torch.no_grad():
        means = network.encode(network.dense(x), (~torch.isnan(x)).to(x.dtype)).mean[0]
    return Latent(means.double().numpy(), fitted.scorer.score(table).score, is_anomaly[picked])
