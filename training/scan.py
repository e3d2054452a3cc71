"""Finds the strange rows of a table itself: every row is judged by a model that saw neither it nor its copies."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from kilter.service.detector import store
from kilter.service.detector.arrays import Mask, Positions
from kilter.service.detector.detector import Detector, load
from kilter.service.detector.errors import KilterError
from kilter.service.detector.inputs import take
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.modalities.tables import Reason
from kilter.service.detector.scores import VAE
from kilter.service.detector.verdicts import Verdicts
from kilter.service.formats.discoveries import Discoveries, find_discoveries
from kilter.service.formats.judge import REASONS, Explained
from kilter.training.config import TrainConfig
from kilter.training.data.choices import choices_of
from kilter.training.data.source import TrainingData, TrainingSource, check_sources
from kilter.training.evaluation.evaluate import Ranking
from kilter.training.evaluation.significance import judge_folds
from kilter.training.fitting.copies import copies_of_rows, identities, without_copies
from kilter.training.fitting.crossfit import FoldProgress, OutOfFit, cross_fit, divide_rows
from kilter.training.fitting.fit import FitProgress
from kilter.training.fitting.split import fit_schema
from kilter.training.modality import modality_of_source
from kilter.training.pipeline import learn_rows

FDR = 0.1
STRANGEST = 10  # rows that a summary lists, flagged or not


class LabelAgreement(NamedTuple):
    """How the ranking agrees with labels, which nothing was fitted to."""

    roc_auc: float
    average_precision: float
    anomalous: int
    flagged: int
    """Flagged rows that have a label, of which `right` are labelled as anomalies."""
    right: int


class ScanResult(NamedTuple):
    """The verdicts on the rows of a table, in their order, and what they come to."""

    data: TrainingData
    verdicts: Verdicts
    """The score is in units of its fold's own scores; `training.evaluation.significance` says how."""
    discoveries: Discoveries
    copies: int
    """Rows that are judged but have a copy before them, and do not calibrate."""
    agreement: LabelAgreement | None

    @property
    def strangest(self) -> Positions:
        """The positions of the judged rows, strangest first."""
        judged = np.flatnonzero(~np.isnan(self.verdicts.score))
        order: Positions = judged[np.argsort(-self.verdicts.score[judged], kind="stable")]
        return order

    @property
    def blamed(self) -> list[tuple[str, int]]:
        """The fields that are the first reason of flagged rows or, where none is, of the strangest, and how often."""
        rows = np.flatnonzero(self.verdicts.anomaly)
        rows = rows if len(rows) else self.strangest[:STRANGEST]
        reasons = self.verdicts.reasons or [()] * len(self.verdicts.score)
        first = [reasons[row][0] for row in rows.tolist() if reasons[row]]
        return Counter(reason.feature for reason in first if isinstance(reason, Reason)).most_common()


def scan_source(
    source: TrainingSource,
    config: TrainConfig,
    *,
    fdr: float = FDR,
    explained: Explained = "anomalies",
    limit: int = REASONS,
    say: Callable[[str], None] = lambda line: None,
    progress: FoldProgress = lambda fold, folds: lambda step, steps, epoch: None,
) -> ScanResult:
    """Judge the rows of tables or of a frame by cross-fitting; labels are looked at once all are judged.

    `fdr` is the false-discovery rate at which rows are flagged, and `explained` says which get up to `limit` reasons:
    the flagged and the strangest, all, or none. Raises KilterError for whatever the user can put right.
    """
    if not 0 < fdr < 1:
        raise KilterError(f"a false-discovery rate is between 0 and 1, like {FDR:g}; not {fdr:g}")
    modality = modality_of_source(source)
    if modality.scan_score is None:
        raise KilterError(
            f"{source.name} holds {modality.kind}, and a scan judges the rows of tables: train a model with "
            "`kilter train`, and look at the suspects in its report"
        )
    if config.detector != VAE:
        raise KilterError(
            f"a scan judges the rows by the score {modality.scan_score} of the detector vae: leave the detector "
            f"{config.detector} out, or train a model with `kilter train`"
        )
    check_sources(source.paths)
    data = modality.read(replace(source, kinds=choices_of(config)), None, lambda done, total: None)
    for line in data.lines():
        say(line)
    rows = np.flatnonzero(data.faultless)
    groups = copies_of_any_kind(data, rows)
    folds = divide_rows(rows, groups, config.seed)
    fitted = cross_fit(
        data.table, data.draft, folds, msgspec.structs.replace(config, score=modality.scan_score), progress
    )
    counted = np.zeros(data.table.rows, bool)
    counted[rows[np.unique(groups, return_index=True)[1]]] = True
    score, p_value = judge_folds(fitted.scores, folds, counted)
    discoveries = find_discoveries(Counter(p_value[rows].tolist()), fdr, float(np.nanmin(p_value)))
    anomaly = p_value <= discoveries.cut
    features = np.empty((data.table.rows, 0), np.float32)
    verdicts = Verdicts(score, p_value, anomaly, None, data.table.problems, features)
    result = ScanResult(data, verdicts, discoveries, len(rows) - int(counted.sum()), _agreement(data, verdicts))
    if explained == "none":
        return result
    wanted = np.isin(np.arange(data.table.rows), result.strangest[:STRANGEST]) | anomaly | (explained == "all")
    return result._replace(verdicts=verdicts._replace(reasons=reasons_by_fold(data, fitted, wanted, limit)))


def copies_of_any_kind(data: TrainingData, rows: Positions) -> Positions:
    """The group of copies of each of some rows, (n,): near ones as well, and all that are the same.

    Whether rows that are the same recur by nature or were copied is no matter here: a strange row that stands in a
    table several times is strange every time, and what is common is close to other common rows too.
    """
    near = copies_of_rows(data.draft, data.table, rows).group
    schema = fit_schema(data.draft, data.table, rows)
    same = identities(modality_of(schema).encode(take(data.table, rows)))
    links = sparse.coo_array((np.ones(len(rows)), (near, same)))
    return np.asarray(csgraph.connected_components(sparse.bmat([[None, links], [links.T, None]]))[1][near], np.int64)


def reasons_by_fold(data: TrainingData, fitted: OutOfFit, wanted: Mask, limit: int) -> list[list[Reason]]:
    """Up to `limit` reasons for each wanted row, by the model that judged it; none for any other."""
    reasons: list[list[Reason]] = [[] for _ in range(data.table.rows)]
    for rows, scorer in fitted.models:
        picked = rows[wanted[rows]]
        if len(picked):
            explained = scorer.score(take(data.table, picked), reasons=limit).reasons or ()
            for row, those in zip(picked.tolist(), explained, strict=True):
                reasons[row] = [reason for reason in those if isinstance(reason, Reason)]
    return reasons


def _agreement(data: TrainingData, verdicts: Verdicts) -> LabelAgreement | None:
    if data.labels is None:
        return None
    known = data.readable
    anomalous, flagged = data.labels.anomalous[known], verdicts.anomaly[known]
    if anomalous.all() or not anomalous.any():
        return None
    ranking = Ranking.of(verdicts.score[known], anomalous)
    right = int((flagged & anomalous).sum())
    figures = ranking.roc_auc(), ranking.average_precision()
    return LabelAgreement(*figures, int(anomalous.sum()), int(flagged.sum()), right)


def keep_model(
    result: ScanResult,
    name: str,
    models: Path,
    config: TrainConfig,
    *,
    say: Callable[[str], None] = lambda line: None,
    progress: FitProgress = lambda step, steps, epoch: None,
) -> Detector:
    """Fit and calibrate a model without the rows that were flagged, and write it as the next version of a name.

    Raises KilterError if the rows that are left are too few, or it cannot be written.
    """
    data, flagged = result.data, result.verdicts.anomaly
    out, judged = int(flagged.sum()), result.discoveries.judged
    note = (
        f"{out:,} of {judged:,} rows were left out of fitting and calibration: a scan of the rows flagged them, and at "
        f"a false-discovery rate of {result.discoveries.fdr:g} few of them are normal."
        if out
        else f"A scan of the {judged:,} rows flagged none, so that all were fitted or calibrated on."
    )
    say(note)
    kept = data.faultless & ~flagged
    names = tuple(np.array(data.names)[kept].tolist()) if data.names else ()
    rest = replace(data, table=take(data.table, kept), labels=None, notes=(*data.notes, note), names=names)
    trained = learn_rows(without_copies(rest), modality_of_source(data.source), config, progress=progress)
    return load(store.add(models, store.check_name(name), partial(trained.files, name)))
