"""Sets the threshold of a model anew on new normal rows, without refitting it: the next version."""

import re
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from kilter.service.detector import artifact, store
from kilter.service.detector.arrays import Floats, Positions
from kilter.service.detector.detector import Detector, Judge, Scorer, load
from kilter.service.detector.errors import KilterError
from kilter.service.detector.findings import Recalibration, SourceFile
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.manifest import Choice, Manifest
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.thresholds import Thresholds, promise_of, score_tensors
from kilter.training.config import Rule
from kilter.training.data.source import LabelledRows, provenance
from kilter.training.evaluation.evaluate import expected_flags
from kilter.training.evaluation.thresholds import LabelledScores, check_labels, set_thresholds
from kilter.training.fitting.copies import copies_of_rows
from kilter.training.fitting.split import DISTINCT_ROWS, ENTITIES, fit_aside, largest_size, one_of_each
from kilter.training.pipeline import completed, judged_probes
from kilter.training.reporting.run import percent, promise_in_words

TITLE = "Calibrated anew"


class Recalibrated(NamedTuple):
    """The new version, and a sentence about the flags of the threshold that it replaces on the new rows."""

    detector: Detector
    folder: Path
    unread: int
    """Rows that could not be read, and were left out."""
    copies: int
    """Rows that were left out since they are copies of another one, or of the same value of `split_by`."""
    surplus: int
    """Rows that were left out so that rate x (n + 1) is whole."""
    before: str
    seen: bool
    """Whether most of the rows were in the training."""


def recalibrate(
    model: Path,
    rows: LabelledRows,
    source: Path,
    *,
    target_fpr: float | None = None,
    rule: Rule | None = None,
    group_by: str | None = None,
    split_by: str | None = None,
    seed: int = 0,
) -> Recalibrated:
    """Calibrate the version of a model that serves on the normal rows of a file, and write it as the next version.

    `source` is the file or folder that the rows come from, for the provenance. `group_by` is one of their columns, and
    so is `split_by`, of each of whose values one row counts; the anomalies among them serve a `rule` that needs labels.
    Surplus rows are dropped at random or, where the model's rows were split by time, the oldest. Raises KilterError if
    the rows are too few, or served the training.
    """
    folder = store.resolve(model).resolve()
    old, content = load(folder), artifact.read_artifact(folder)
    manifest, file, rule = content.manifest, provenance(source), rule or Rule()
    _check(folder, manifest, source, file)
    wanted = rule.rate(target_fpr)
    rate = manifest.calibration.target_fpr if wanted is None else wanted
    table, anomalies = rows.parts()
    entities = rows.normal_entities
    check_labels(rule, anomalies.rows)
    judged = old.scorer.score(table, errors="mark")
    scores = judged.score
    readable = np.flatnonzero(~np.isnan(scores))
    if entities is not None:
        usable = one_of_each(readable, entities, np.random.default_rng(seed))
        what = ENTITIES
    else:
        usable = readable[copies_of_rows(rows.schema, table, readable).first]
        what = DISTINCT_ROWS if len(usable) < len(readable) else "calibration rows"
    size = len(usable) if rule.needs_labels else largest_size(len(usable), rate, what)
    positions, split = _kept(manifest, take(table, usable), size, seed)
    picked = usable[positions]
    schema = fit_aside(rows.schema, table, picked)

    def labelled() -> LabelledScores:
        strange = old.scorer.score(anomalies, errors="mark").score
        strange = strange[~np.isnan(strange)]
        return LabelledScores(None, strange, len(strange) / (len(strange) + len(usable)))

    thresholds, chosen = set_thresholds(
        take(table, picked),
        scores[picked],
        rate,
        manifest.score.digits,
        chosen=manifest.calibration.chosen if wanted is None else Choice("rate"),
        rule=rule,
        labelled=labelled,
        grouping=None if group_by is None else schema.field(group_by),
        seed=seed,
    )
    earlier = manifest.training.recalibration
    recalibration = Recalibration(
        from_version=manifest.version,
        trained_version=earlier.trained_version if earlier else manifest.version,
        file=file,
        rows=table.rows,
        earlier_evaluation=manifest.training.evaluation or (earlier.earlier_evaluation if earlier else None),
    )
    scorer = Scorer(modality_of(schema, manifest.score.grid), old.scorer.program)
    probes = judged_probes(completed(content.probes.records, schema), Judge(scorer, thresholds))
    tensors = {name: array for name, array in content.tensors.items() if name != artifact.GROUP_SCORES}
    tensors |= score_tensors(thresholds)
    report, card = ((folder / name).read_text("utf-8") for name in ("report.html", "MODEL_CARD.md"))

    def files(version: int) -> dict[str, bytes]:
        new = msgspec.structs.replace(
            manifest,
            version=version,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            schema=schema,
            calibration=promise_of(thresholds, chosen, split, split_by=split_by),
            training=msgspec.structs.replace(manifest.training, evaluation=None, recalibration=recalibration),
            tensors={name: array.shape for name, array in tensors.items()},
        )
        notice = _notice(new, recalibration)
        documents = {
            "report.html": report_with_notice(report, notice).encode(),
            "MODEL_CARD.md": card_with_notice(card, f"# {manifest.name}, version {version}", notice).encode(),
        }
        return artifact.pack(new, tensors, content.programs, probes, documents)

    added = store.add(folder.parent.parent, manifest.name, files)
    before = _before(old, take(table, usable), scores[usable])
    unread, copies, surplus = table.rows - len(readable), len(readable) - len(usable), len(usable) - size
    known = old.was_trained_on(judged.features)
    return Recalibrated(load(added), added, unread, copies, surplus, before, known)


def _check(folder: Path, manifest: Manifest, source: Path, file: SourceFile) -> None:
    """Raise KilterError if the next version cannot stand beside a version's folder, or the rows served the training."""
    if folder.parent.name != manifest.name or folder.name != str(manifest.version):
        raise KilterError(
            f"{folder} holds version {manifest.version} of the model {manifest.name!r}: the next version is written "
            f"beside it, so put it in a folder {manifest.name}/{manifest.version}"
        )
    if manifest.training.was_trained_on(file.sha256):
        what = "folder" if source.is_dir() else "file"
        raise KilterError(
            f"{source} is a {what} that the model was trained on: rows that it was fitted to score lower than new rows "
            "do, and a threshold set on them would raise false alarms; give normal rows that the model has not seen"
        )


def _kept(manifest: Manifest, table: Table, size: int, seed: int) -> tuple[Positions, str]:
    """Positions of the rows to calibrate on, and how they were picked."""
    if manifest.calibration.split != "time":
        return np.sort(np.random.default_rng(seed).permutation(table.rows)[:size]), "random"
    order = np.arange(table.rows)
    if manifest.schema.time is not None:
        times = table.columns[manifest.schema.time.name]
        # Rows without a time sort last under NumPy; they go first here, since they may be of any age.
        order = np.lexsort((times, ~np.isnat(times)))
    return np.sort(order[table.rows - size :]), "time"


def _before(old: Detector, table: Table, scores: Floats) -> str:
    """The flags of the old version on new normal rows; of its common threshold alone if they lack its groups."""
    groups = old.groups if old.groups and old.groups.column.name in table.columns else None
    thresholds = Thresholds(old.calibration, groups)
    flagged = int(thresholds.judge(scores, table).anomaly.sum())
    low, high = expected_flags(table, thresholds)
    flags = f"The old threshold, {old.calibration.threshold:.6g}, flags {flagged:,} of these {len(scores):,} rows"
    return f"{flags}, where {low:,} to {high:,} were to be expected."


def _notice(manifest: Manifest, recalibration: Recalibration) -> str:
    """The changes since the report and the card were written."""
    promise = manifest.calibration
    sentences = (
        f"This is version {manifest.version}: version {recalibration.from_version} with a new threshold, "
        f"{promise.threshold:.6g}, for a target false-positive rate of {percent(promise.target_fpr)}, set on "
        f"{promise.size:,} rows of {recalibration.file.name}. The network is the same.",
        *promise_in_words(promise),
        f"All figures below are those of version {recalibration.trained_version}, with its own threshold.",
    )
    return " ".join(sentences)


def report_with_notice(page: str, notice: str) -> str:
    """A report with the notice before its first heading, and no earlier notice."""
    opened = '<main>\n<p class="notes" id="notice">'
    page = re.sub(rf"{opened}.*?</p>\n", "<main>\n", page, count=1)
    return page.replace("<main>\n", f"{opened}{escape(notice)}</p>\n", 1)


def card_with_notice(card: str, title: str, notice: str) -> str:
    """A model card with a new title and the notice below it, in place of any earlier notice."""
    rest = card.partition("\n\n")[2]
    if rest.startswith(f"## {TITLE}\n\n"):
        rest = rest.split("\n\n", 2)[2]
    return f"{title}\n\n## {TITLE}\n\n{notice}\n\n{rest}"
