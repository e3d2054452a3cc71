"""Packages a fitted model: probes, manifest, evaluation, report and model card, as the files of an artifact."""

from datetime import UTC, datetime
from importlib.metadata import version as library_version
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch

import kilter
from kilter.service.detector import artifact
from kilter.service.detector.detector import Detector, Verdicts
from kilter.service.detector.groups import judge
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.networks.image import ImageVAE
from kilter.service.detector.networks.names import UNITS
from kilter.training import calibrate
from kilter.training.card import model_card
from kilter.training.checkup import check_up
from kilter.training.config import TrainConfig
from kilter.training.data import Data
from kilter.training.evaluate import evaluate
from kilter.training.evaluation import Evaluation
from kilter.training.model import DIGITS, Fitted
from kilter.training.pictures.prior import samples
from kilter.training.probes import make_probes
from kilter.training.provenance import described
from kilter.training.reference import reference_tensors
from kilter.training.report import report
from kilter.training.run import Latent, Pictured, Run, Scored

TOLERANCE = 1e-4
LATENT_ROWS = 2_000
LATENT_PICTURES = 500
"""Most rows that are drawn of the latent space; of pictures, which are encoded all at once, half of them anomalies."""
SAMPLES = 12
"""Draws from the prior of an image model."""
LIBRARIES = ("numpy", "onnx", "onnxruntime", "onnxscript", "polars", "safetensors", "scikit-learn", "torch")


def package(
    data: Data, fitted: Fitted, config: TrainConfig, name: str, version: int
) -> tuple[dict[str, bytes], Evaluation]:
    """The files of the artifact, and its evaluation on rows that neither fitting nor calibration saw."""
    parts, scorer = fitted.split, fitted.scorer
    calibration, groups, chosen = fitted.thresholds
    probes = make_probes(scorer, calibration, config.seed, groups)
    tensors: dict[str, npt.NDArray[Any]] = {
        f"{artifact.NETWORK_PREFIX}{key}": tensor.numpy() for key, tensor in fitted.module.state_dict().items()
    }
    tensors |= calibrate.tensors(calibration, groups)
    tensors |= reference_tensors(scorer.modality, scorer.figures(take(data.table, parts.fit)))
    manifest = artifact.Manifest(
        format=artifact.FORMAT,
        name=name,
        version=version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        schema=scorer.modality.schema,
        network=msgspec.to_builtins(fitted.module.shape),
        score=artifact.ScoreInfo(config.score, UNITS[config.score], DIGITS, TOLERANCE),
        calibration=calibrate.info(calibration, parts.how, chosen, groups, left_out=fitted.known),
        training=provenance(data, fitted, config),
        libraries={"kilter": kilter.__version__, **{name: library_version(name) for name in LIBRARIES}},
        tensors={key: tensor.shape for key, tensor in tensors.items()},
    )
    detector = Detector(manifest, scorer.program, calibration, probes, groups)
    run = _run(data, fitted, config, detector)
    for key in ("evaluation", "diagnosis", "comparison", "suspects", "warnings"):
        manifest.training[key] = msgspec.to_builtins(getattr(run, key))
    files = artifact.pack(
        manifest,
        tensors,
        fitted.programs,
        probes,
        report__html=report(run).encode(),
        MODEL_CARD__md=model_card(run).encode(),
    )
    return files, run.evaluation


def provenance(data: Data, fitted: Fitted, config: TrainConfig) -> dict[str, Any]:
    """Where the model comes from: files with checksums, rows by use, settings, seed, and how the fit went."""
    parts = fitted.split
    return {
        "files": [described(path) for path in data.source.paths],
        "rows": data.table.rows,
        "sizes": {"fit": len(parts.fit), "calibration": len(parts.calibration), "held_out": len(parts.held_out)},
        "label": data.source.label,
        "normal": data.source.normal,
        "settings": msgspec.to_builtins(config),
        "history": msgspec.to_builtins(fitted.history[-1:]),
        "notes": list(data.notes),
    }


def _run(data: Data, fitted: Fitted, config: TrainConfig, detector: Detector) -> Run:
    """Everything that the report and the card show."""
    parts = fitted.split
    held = parts.held_out
    anomalous = np.flatnonzero(data.labels.anomalous & data.readable) if data.labels else held[:0]
    notes = list(data.notes)
    if not len(held):
        notes.append("There were too few rows to hold some out for the evaluation: calibration rows stand in for them.")
    judged = held if len(held) else parts.calibration
    rows = np.concatenate([judged, anomalous])
    is_anomaly = np.arange(len(rows)) >= len(judged)
    table = take(data.table, rows)
    verdicts = detector.score(table, errors="mark")
    if fitted.met:
        verdicts = _as_left_out(verdicts, fitted, table, detector)
    evaluation = evaluate(
        detector,
        table,
        is_anomaly if len(anomalous) else None,
        seed=config.seed,
        fresh=bool(len(held)),
        verdicts=verdicts,
    )
    normal, strange = (
        Scored(take(table, part), verdicts.score[part], rows[part]) for part in (~is_anomaly, is_anomaly)
    )
    checkup = check_up(data, fitted, config, detector, judged, anomalous)
    return Run(
        manifest=detector.manifest,
        decisions=data.decisions,
        history=fitted.history,
        detector=detector,
        calibration_scores=fitted.calibration.scores,
        evaluation=evaluation,
        held_out=normal if len(held) else None,
        anomalies=strange if len(anomalous) else None,
        latent=_latent(fitted, table, verdicts.score, is_anomaly),
        notes=notes,
        pictured=_pictured(data, fitted, config, normal, fresh=bool(len(held))),
        **checkup._asdict(),
    )


def _as_left_out(verdicts: Verdicts, fitted: Fitted, table: Table, detector: Detector) -> Verdicts:
    """The verdicts on calibration rows, which come first in the table, and others, as if the memory held none of it."""
    others = verdicts.score[len(fitted.calibration_scores) :]
    scores = np.concatenate([fitted.calibration_scores, others])
    judged = judge(scores, table, detector.calibration, detector.groups)
    return verdicts._replace(score=scores, **judged._asdict())


def _latent(
    fitted: Fitted, table: Table, scores: npt.NDArray[np.float64], is_anomaly: npt.NDArray[np.bool_]
) -> Latent | None:
    """The latent means of a sample of the judged rows."""
    if not table.rows:
        return None
    pictures = fitted.scorer.modality.name == "image"
    order = np.random.default_rng(0).permutation(table.rows)
    if not pictures:
        picked = np.sort(order[:LATENT_ROWS])
    else:
        parts = (order[is_anomaly[order] == odd][: LATENT_PICTURES // 2] for odd in (False, True))
        picked = np.sort(np.concatenate([*parts]))
    drawn = take(table, picked)
    x = torch.from_numpy(np.concatenate([*fitted.scorer.modality.encode(drawn)]))
    network = fitted.module.network
    with torch.no_grad():
        means = network.posterior(x).mean[0]
    return Latent(means.double().numpy(), scores[picked], is_anomaly[picked], drawn if pictures else None)


def _pictured(data: Data, fitted: Fitted, config: TrainConfig, normal: Scored, *, fresh: bool) -> Pictured | None:
    """What the report of an image model shows besides."""
    network = fitted.module.network
    if not isinstance(network, ImageVAE):
        return None
    return Pictured(data.names, normal, fresh, samples(network, SAMPLES, config.seed))
