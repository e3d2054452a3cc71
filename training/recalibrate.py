"""Sets the threshold of a model anew on new normal rows, without refitting it: the next version."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from kilter.service.detector import artifact, store
from kilter.service.detector.artifact import Artifact, Manifest
from kilter.service.detector.detector import Detector, Scorer, load
from kilter.service.detector.errors import KilterError
from kilter.service.detector.groups import judge
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.modality import modality_of
from kilter.service.detector.promise import in_words
from kilter.training import calibrate
from kilter.training.expected import expected_flags
from kilter.training.labelled import LabelledRows
from kilter.training.notice import card_with_notice, report_with_notice
from kilter.training.probes import completed, judged
from kilter.training.provenance import described, was_trained_on
from kilter.training.rule import Rule
from kilter.training.statistics import fit_aside
from kilter.training.threshold import Labelled, check_labels
from kilter.training.thresholds import Calibrated, Rows, set_thresholds
from kilter.training.words import by_group, percent, promise


class Recalibrated(NamedTuple):
    """The new version, and how the threshold that it replaces did on the new rows."""

    detector: Detector
    folder: Path
    unread: int
    """Rows that could not be read, and were left out."""
    surplus: int
    """Rows that were left out so that rate x (n + 1) is whole."""
    before: str
    """What the old threshold made of the new rows, in a sentence."""


def recalibrate(
    model: Path,
    rows: LabelledRows,
    source: Path,
    *,
    target_fpr: float | None = None,
    rule: Rule | None = None,
    group_by: str | None = None,
    seed: int = 0,
) -> Recalibrated:
    """Calibrate the version of a model that serves on the normal rows of a file, and write it as the next version.

    `source` is the file or folder that the rows come from, for the provenance, and `group_by` one of their columns; the
    anomalies among them serve a `rule` that needs labels. Surplus rows are dropped at random or, where the model's
    rows were split by time, the oldest. Raises KilterError if the rows are too few, or served the training.
    """
    folder = store.resolve(model).resolve()
    old, found = load(folder), artifact.read(folder)
    name = _name_of(folder, found.manifest)
    about = described(source)
    _check_unseen(found.manifest, source, about["sha256"])
    rule = rule or Rule()
    asked = rule.rate(target_fpr)
    rate = found.manifest.calibration.target_fpr if asked is None else asked
    table, anomalies = rows.normal(), rows.anomalies()
    check_labels(rule, anomalies.rows)
    scores = old.scorer.score(table, errors="mark").score
    usable = np.flatnonzero(~np.isnan(scores))
    size = len(usable) if rule.needs_labels else calibrate.largest_size(len(usable), rate)
    kept, split = _kept(found.manifest, take(table, usable), size, seed)
    picked = usable[kept]
    schema = fit_aside(rows.schema, table, picked)

    def labelled() -> Labelled:
        strange = old.scorer.score(anomalies, errors="mark").score
        strange = strange[~np.isnan(strange)]
        return Labelled(None, strange, len(strange) / (len(strange) + len(usable)))

    thresholds = set_thresholds(
        Rows(take(table, picked), scores[picked]),
        rate,
        found.manifest.score.digits,
        chosen=found.manifest.calibration.chosen if asked is None else calibrate.ASKED,
        rule=rule,
        labelled=labelled,
        schema=schema,
        group_by=group_by,
        seed=seed,
    )
    before = found.manifest.training.get("recalibration", {})
    provenance = {
        "from_version": found.manifest.version,
        "trained_version": before.get("trained_version", found.manifest.version),
        "file": about,
        "rows": table.rows,
        "earlier_evaluation": found.manifest.training.get("evaluation", before.get("earlier_evaluation")),
    }
    scorer = Scorer(modality_of(schema, old.modality.grid), old.scorer.program)

    def files(version: int) -> dict[str, bytes]:
        return _packed(folder, found, scorer, thresholds, split, provenance, version)

    added = store.add(folder.parent.parent, name, files)
    return Recalibrated(
        detector=load(added),
        folder=added,
        unread=table.rows - len(usable),
        surplus=len(usable) - size,
        before=_before(old, take(table, usable), scores[usable]),
    )


def _name_of(folder: Path, manifest: Manifest) -> str:
    """The model's name, if the version's folder stands where the next version can be put beside it."""
    if folder.parent.name != manifest.name or folder.name != str(manifest.version):
        raise KilterError(
            f"{folder} holds version {manifest.version} of the model {manifest.name!r}: the next version is written "
            f"beside it, so put it in a folder {manifest.name}/{manifest.version}"
        )
    return manifest.name


def _check_unseen(manifest: Manifest, source: Path, digest: str) -> None:
    if was_trained_on(manifest.training, digest):
        what = "folder" if source.is_dir() else "file"
        raise KilterError(
            f"{source} is a {what} that the model was trained on: what it was fitted to scores lower than new rows do, "
            "and a threshold set on it would raise false alarms; give normal rows that the model has not seen"
        )


def _kept(manifest: Manifest, table: Table, size: int, seed: int) -> tuple[npt.NDArray[np.int64], str]:
    """Positions of the rows to calibrate on, and how they were picked."""
    if manifest.calibration.split != "time":
        return np.sort(np.random.default_rng(seed).permutation(table.rows)[:size]), "random"
    order = np.arange(table.rows)
    if manifest.schema.time is not None:
        times = table.columns[manifest.schema.time.name]
        # Rows without a time sort last under NumPy; they go first here, since they may be of any age.
        order = np.lexsort((times, ~np.isnat(times)))
    return np.sort(order[table.rows - size :]), "time"


def _packed(
    folder: Path,
    found: Artifact,
    scorer: Scorer,
    thresholds: Calibrated,
    split: str,
    provenance: dict[str, Any],
    version: int,
) -> dict[str, bytes]:
    """The files of the next version: all as they were but for what follows from the calibration."""
    calibration, groups, chosen = thresholds
    training = {key: value for key, value in found.manifest.training.items() if key != "evaluation"}
    kept = {name: array for name, array in found.tensors.items() if name != artifact.GROUP_SCORES}
    tensors = {**kept, **calibrate.tensors(calibration, groups)}
    manifest = msgspec.structs.replace(
        found.manifest,
        version=version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        schema=scorer.modality.schema,
        calibration=calibrate.info(calibration, split, chosen, groups),
        training={**training, "recalibration": provenance},
        tensors={name: array.shape for name, array in tensors.items()},
    )
    probes = judged(completed(found.probes.records, scorer.modality.schema), scorer, calibration, groups)
    notice = (
        f"This is version {version}: version {found.manifest.version} with a new threshold, "
        f"{manifest.calibration.threshold:.6g}, for a target false-positive rate of {percent(calibration.target_fpr)}, "
        f"set on {calibration.size:,} rows of {provenance['file']['name']}. The network is the same. "
        f"{promise(manifest.calibration)} {in_words(chosen, calibration.size)} "
        f"{' '.join([*by_group(manifest.calibration), ''])}All figures below are those of version "
        f"{provenance['trained_version']}, with the threshold that it had."
    )
    documents = {
        "report.html": report_with_notice((folder / "report.html").read_text("utf-8"), notice),
        "MODEL_CARD.md": card_with_notice(
            (folder / "MODEL_CARD.md").read_text("utf-8"), f"# {manifest.name}, version {version}", notice
        ),
    }
    return artifact.pack(
        manifest,
        tensors,
        found.programs,
        probes,
        **{file.replace(".", "__"): text.encode() for file, text in documents.items()},
    )


def _before(old: Detector, table: Table, scores: npt.NDArray[np.float64]) -> str:
    """What the thresholds of the old version make of new normal rows; the common one alone if they lack its groups."""
    groups = old.groups if old.groups and old.groups.column.name in table.columns else None
    flagged = int(judge(scores, table, old.calibration, groups).anomaly.sum())
    low, high = expected_flags(table, old.calibration, groups)
    return (
        f"The old threshold, {old.calibration.threshold:.6g}, flags {flagged:,} of these {len(scores):,} rows, where "
        f"{low:,} to {high:,} were to be expected."
    )
