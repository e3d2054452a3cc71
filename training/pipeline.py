"""From files or a frame to a model: read, split, fit, calibrate, examine, package, and load it from disk."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

import kilter
from kilter.service.detector import artifact, store
from kilter.service.detector.arrays import Array
from kilter.service.detector.calibration import DIGITS, TOLERANCE
from kilter.service.detector.detector import Detector, Judge, load
from kilter.service.detector.errors import KilterError
from kilter.service.detector.findings import DetectorChoice, Evaluation, PartSizes, Training
from kilter.service.detector.inputs import take
from kilter.service.detector.manifest import Manifest, NetworkEntry, Probes, ScoreEntry
from kilter.service.detector.reference import reference_tensors
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores import SCORES, VAE
from kilter.service.detector.sketch import sketch_tensors
from kilter.service.detector.thresholds import promise_of, score_tensors
from kilter.training.config import AUTO, TrainConfig, with_detector
from kilter.training.data.choices import choices_of
from kilter.training.data.source import (
    Progress,
    TrainingData,
    TrainingSource,
    check_sources,
    provenance,
    silent,
    with_tables,
)
from kilter.training.evaluation.baselines import baseline_warning
from kilter.training.evaluation.checkup import Examined, examine_fit
from kilter.training.evaluation.crosscheck import cross_check
from kilter.training.evaluation.evaluate import evaluate_rows
from kilter.training.evaluation.evidence import bound_likelihood, without_elbo
from kilter.training.evaluation.selection import FOLDS, choose_detector
from kilter.training.evaluation.thresholds import Calibrated, check_labels, thresholds_of_fit
from kilter.training.fitting.copies import without_copies
from kilter.training.fitting.entities import with_entity_notice
from kilter.training.fitting.fit import FitProgress
from kilter.training.fitting.generator import FittedGenerator, fit_generator
from kilter.training.fitting.model import Fitted, fit_model
from kilter.training.fitting.origins import remembered_origins
from kilter.training.fitting.programs import Backbone, read_backbone
from kilter.training.fitting.split import order_note, records_per_day
from kilter.training.modality import TrainingModality, modality_of_source
from kilter.training.reporting.report import model_card, report
from kilter.training.reporting.run import Latent, Run, Scored, choice_in_lines

LIBRARIES = ("numpy", "onnx", "onnxruntime", "onnxscript", "polars", "safetensors", "scikit-learn", "torch")
PLAIN, ODD = 16, 8
DRAWS = 64  # by which the report bounds log p(x)
ROUNDS = 5  # in which plain records are brought nearer to what the network expects
CHOSEN = (
    "The threshold was chosen by these labelled rows, so what it reaches on new ones is likely to be a little less."
)


@dataclass(frozen=True)
class Trained:
    """A model that is fitted, calibrated and examined: its artifact without a name and a version."""

    modality: TrainingModality
    fitted: Fitted
    calibrated: Calibrated
    training: Training
    run: Run
    split_by: str | None
    tensors: dict[str, Array]
    probes: Probes
    generator: FittedGenerator | None

    def files(self, name: str, version: int) -> dict[str, bytes]:
        """The files of the artifact under a name, as a version."""
        manifest = self.manifest(name, version)
        kind, sections = self.modality.kind, self.modality.sections(self.run)
        documents = {
            "report.html": report(manifest, self.run, kind, sections).encode(),
            "MODEL_CARD.md": model_card(manifest, self.run, kind).encode(),
        }
        return artifact.pack(manifest, self.tensors, self.programs, self.probes, documents)

    @property
    def programs(self) -> dict[str, bytes]:
        """The programs by name, that of the generator among them."""
        return self.fitted.programs | (self.generator.programs if self.generator else {})

    def manifest(self, name: str, version: int) -> Manifest:
        """The manifest of the artifact under a name, as a version."""
        fitted, network, score = self.fitted, self.fitted.module.network, self.fitted.module.score
        kind = SCORES[fitted.score_kind]
        return Manifest(
            format=artifact.FORMAT,
            name=name,
            version=version,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            schema=fitted.schema,
            network=NetworkEntry(
                kind=fitted.network_kind,
                members=network.members,
                latent=network.latent,
                shape=msgspec.to_builtins(network.shape),
                code=network.code_size,
                noise=network.noise_size,
                standard_prior=network.standard_prior,
                condition=None if network.condition_column is None else fitted.schema.names[network.condition_column],
            ),
            score=ScoreEntry(
                kind=fitted.score_kind,
                name=kind.name,
                unit=kind.unit,
                digits=DIGITS,
                tolerance=TOLERANCE,
                shape=msgspec.to_builtins(score.shape),
                grid=score.grid,
                memory=score.memory_entry,
                backbone=None if fitted.backbone is None else fitted.backbone.entry,
            ),
            calibration=promise_of(
                *self.calibrated, fitted.split.how, split_by=self.split_by, left_out=fitted.holds_calibration
            ),
            training=self.training,
            libraries={"kilter": kilter.__version__, **{name: library_version(name) for name in LIBRARIES}},
            programs={name: f"{name}.onnx" for name in self.programs},
            tensors={key: tensor.shape for key, tensor in self.tensors.items()},
            generator=None if self.generator is None else self.generator.entry,
        )


def train_model(
    source: TrainingSource,
    name: str,
    models: Path,
    config: TrainConfig,
    *,
    backbone: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: FitProgress = lambda step, steps, epoch: None,
    reading: Progress = silent,
) -> tuple[Detector, Path, Evaluation]:
    """`learn` a model and write it as the next version; return it as loaded from disk, its folder and its evaluation.

    Nothing is written unless all of it succeeds, but for a checkpoint, by which the next run continues an interrupted
    one.
    """
    store.check_name(name)
    checkpoint = checkpoint_of(models, name)
    trained = learn(
        source, config, backbone=backbone, checkpoint=checkpoint, say=say, progress=progress, reading=reading
    )
    folder = store.add(models, name, partial(trained.files, name))
    return load(folder), folder, trained.run.evaluation


def checkpoint_of(models: Path, name: str) -> Path:
    """The file by which an interrupted training of a model continues."""
    return models / name / ".fit.safetensors"


def learn(
    source: TrainingSource,
    config: TrainConfig,
    *,
    backbone: Path | None = None,
    checkpoint: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: FitProgress = lambda step, steps, epoch: None,
    reading: Progress = silent,
) -> Trained:
    """Train a model in memory, which gives the files of its artifact under any name and version.

    `backbone` is an ONNX file with a pretrained network, by whose local features pictures are judged, and `checkpoint`
    the file from which an interrupted fit continues. `say` is called with each decision about the data, `progress`
    after each step of the fit. Raises KilterError for whatever the user can put right.
    """
    source = replace(
        source,
        paths=with_tables(source.paths),
        split_by=config.split_by or source.split_by,
        max_rows=config.max_rows,
        seed=config.seed,
    )
    modality = modality_of_source(source)
    if config.detector != VAE and not modality.has_columns:
        raise KilterError(
            f"--detector {config.detector} is for tables, and {source.name} holds pictures, whose detector is vae: "
            "leave it out"
        )
    kinds = choices_of(config)
    if kinds and not modality.has_columns:
        raise KilterError(f"--{next(iter(kinds.values()))} names a column of a table, and {source.name} holds pictures")
    source = replace(source, kinds=kinds)
    pretrained = None
    if backbone is not None:
        if config.score != "neighbours":
            raise KilterError(f"--backbone is for the score neighbours, not {config.score}: leave one of the two out")
        if not modality.takes_backbone:
            raise KilterError(f"--backbone is for pictures, and {source.name} holds a table")
        pretrained = read_backbone(backbone)
    check_sources(source.paths)
    data = with_entity_notice(without_copies(modality.read(source, pretrained, reading)), config.target_fpr)
    check_labels(config.threshold, int(data.labels.anomalous.sum()) if data.labels else 0)
    data = replace(data, notes=(*data.notes, *order_note(data.draft, data.table, config.split)))
    for line in data.lines():
        say(line)
    return learn_rows(data, modality, config, backbone=pretrained, checkpoint=checkpoint, say=say, progress=progress)


def learn_rows(
    data: TrainingData,
    modality: TrainingModality,
    config: TrainConfig,
    *,
    backbone: Backbone | None = None,
    checkpoint: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: FitProgress = lambda step, steps, epoch: None,
) -> Trained:
    """Train a model in memory on rows that have been read, as `learn` does."""
    choice = None
    try:
        if config.detector == AUTO:
            say(f"{FOLDS} models of each detector are fitted to parts of the rows, to choose one.")
            choice = choose_detector(data, config)
            for line in choice_in_lines(choice):
                say(line)
        config = with_detector(config, config.detector if choice is None else choice.chosen)
        fitted = fit_model(data, config, backbone=backbone, checkpoint=checkpoint, progress=progress)
    except KilterError as error:
        raise KilterError(modality.worded(str(error))) from error
    return examine(data, fitted, thresholds_of_fit(data, config, fitted), config, modality, choice)


def examine(
    data: TrainingData,
    fitted: Fitted,
    calibrated: Calibrated,
    config: TrainConfig,
    modality: TrainingModality,
    choice: DetectorChoice | None = None,
) -> Trained:
    """Evaluate a model on rows that neither fitting nor calibration saw, and look for what is wrong with it."""
    judge, parts, network = Judge(fitted.scorer, calibrated.thresholds), fitted.split, fitted.module.network
    fresh = len(parts.held_out) > 0
    judged = parts.held_out if fresh else parts.calibration
    rows = np.concatenate([judged, data.anomalous])
    is_anomaly = np.arange(len(rows)) >= len(judged)
    table = take(data.table, rows)
    verdicts = judge.score(table, errors="mark")
    if fitted.stands_in:
        # Calibration rows, which come first, are judged as if the memory of the score held none of them.
        scores = np.concatenate([fitted.calibration_scores, verdicts.score[len(fitted.calibration_scores) :]])
        verdicts = verdicts._replace(score=scores, **judge.thresholds.judge(scores, table)._asdict())
    crossed = None if fresh else cross_check(data, fitted, calibrated.thresholds, config, data.entities)
    if crossed is not None:
        verdicts = verdicts._replace(anomaly=np.concatenate([crossed.flags, verdicts.anomaly[len(judged) :]]))
    evaluation = evaluate_rows(
        judge,
        table,
        is_anomaly if is_anomaly.any() else None,
        seed=config.seed,
        fresh=fresh or crossed is not None,
        verdicts=verdicts,
        weight=len(data.normal) / len(judged),
        folds=crossed and crossed.folds,
        expected=crossed and crossed.expected,
    )
    usable = np.flatnonzero(~is_anomaly & ~np.isnan(verdicts.score))
    if not network.has_elbo:
        evaluation = without_elbo(evaluation)
    elif len(usable):
        known = take(table, usable)
        bound = bound_likelihood(network, judge.modality, known, DRAWS, config.seed, modality.bounded_rows)
        evaluation = msgspec.structs.replace(evaluation, evidence=bound)
    normal, strange = (
        Scored(take(table, part), verdicts.score[part], rows[part]) for part in (~is_anomaly, is_anomaly)
    )
    examined = modality.examined(Examined(parts.fit, judged, data.anomalous), fitted.schema, config.seed)
    simplification = modality.simplification(fitted.schema)
    checkup = examine_fit(data, fitted, judge, config, examined, simplification, modality.measures)
    picked = modality.latent_rows(np.random.default_rng(0).permutation(table.rows), is_anomaly)
    sample = take(table, picked)
    with torch.no_grad():
        means = network.posterior(torch.from_numpy(np.concatenate([*judge.modality.encode(sample)]))).mean[0]
    stand_in = "There were too few rows to hold some out for the evaluation: calibration rows stand in for them."
    if config.threshold.needs_labels:
        evaluation = msgspec.structs.replace(evaluation, notes=(*evaluation.notes, CHOSEN))
    time = fitted.schema.time
    run = Run(
        judge=judge,
        decisions=data.decisions,
        history=fitted.history,
        evaluation=evaluation,
        normal=normal,
        fresh=fresh,
        anomalies=strange if is_anomaly.any() else None,
        latent=Latent(means.double().numpy(), verdicts.score[picked], is_anomaly[picked], sample),
        notes=data.notes if fresh else (*data.notes, stand_in),
        fitted=Scored(take(data.table, examined.fitted), checkup.surprise, examined.fitted),
        names=data.names,
        samples=modality.samples(network, config.seed),
    )
    tensors: dict[str, Array] = {key: tensor.numpy() for key, tensor in fitted.module.state_dict().items()}
    tensors |= score_tensors(calibrated.thresholds)
    figures, new_figures = (fitted.scorer.figures(take(data.table, rows)) for rows in (parts.fit, parts.calibration))
    tensors |= remembered_origins(data, parts, fitted.module.score) if config.row_numbers else {}
    generator = fit_generator(fitted, data.table, config.seed) if config.generator else None
    tensors |= {} if generator is None else generator.tensors
    tensors |= reference_tensors(fitted.scorer.modality, figures) | sketch_tensors(figures, new_figures)
    training = Training(
        files=tuple(map(provenance, data.source.paths)),
        rows=data.table.rows,
        sizes=PartSizes(len(parts.fit), len(parts.calibration), len(parts.held_out)),
        label=data.source.label,
        normal=data.source.normal,
        settings=msgspec.to_builtins(config),
        history=tuple(fitted.history[-1:]),
        notes=data.notes,
        evaluation=evaluation,
        diagnosis=checkup.diagnosis,
        comparison=checkup.comparison,
        choice=choice,
        suspects=checkup.suspects,
        warnings=(
            *baseline_warning(checkup.comparison),
            *(checkup.diagnosis.notes if checkup.diagnosis else ()),
            *checkup.suspects.notes,
        ),
        records_per_day=None if time is None else records_per_day(data.table.columns[time.name], data.share),
    )
    probes = make_probes(judge, config.seed)
    return Trained(modality, fitted, calibrated, training, run, data.source.split_by, tensors, probes, generator)


def probe_records(schema: Schema, seed: int) -> list[dict[str, Any]]:
    """Synthetic records, as JSON holds them: PLAIN ones, drawn column by column from the schema, and then ODD ones.

    An odd one has a cell that is out of range, of an unseen level, missing, or noise.
    """
    rng = np.random.default_rng(seed)
    records = [{column.name: column.usual(rng) for column in schema.fields} for _ in range(PLAIN + ODD)]
    # Drawn column by column a record may well be strange: one has all its numbers in the middle.
    middle = {column.name: column.central() for column in schema.fields}
    records[0] |= {name: value for name, value in middle.items() if value is not None}
    for record in records[PLAIN:]:
        column = schema.columns[rng.integers(len(schema.columns))]
        record[column.name] = column.odd(rng)
    return records


def make_probes(judge: Judge, seed: int) -> Probes:
    """Probes with the verdicts that they get now; the most ordinary comes first, as the example that is shown.

    Plain ones are drawn column by column, so that one whose fields go together is made of them by the network.
    """
    records = probe_records(judge.modality.schema, seed)
    plain = records[:PLAIN]
    tried = [*plain]
    for _ in range(ROUNDS):
        plain = judge.modality.likelier(judge.scorer.program, plain)
        tried += plain
    ordinary = int(np.nanargmin(judge.score(tried, errors="mark").score))
    del records[ordinary % PLAIN]
    return judged_probes([tried[ordinary], *records], judge)


def completed(records: list[dict[str, Any]], schema: Schema) -> list[dict[str, Any]]:
    """Records with a synthetic value in every field of the schema that they lack."""
    rng = np.random.default_rng(0)
    return [
        {column.name: record[column.name] if column.name in record else column.usual(rng) for column in schema.fields}
        for record in records
    ]


def judged_probes(records: list[dict[str, Any]], judge: Judge) -> Probes:
    """Records with the verdicts that they get now."""
    verdicts = judge.score(records)
    return Probes(records, verdicts.score.tolist(), verdicts.p_value.tolist(), verdicts.anomaly.tolist())
