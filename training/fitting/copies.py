"""Rows that stand in the training data again: whether they recur by nature or were copied, exactly or nearly.

Rows that recur by nature recur among the records to come, and stay as they are. Copies do not: a row and its copy on
both sides of a split make calibration scores too low, so that of each group of copies one row is kept.
"""

from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from scipy import sparse, stats
from scipy.spatial import cKDTree
from sklearn.neighbors import NearestNeighbors

from kilter.service.detector.arrays import Array, Floats, Mask, Matrix, Positions
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.schema import Schema
from kilter.training.data.source import TrainingData
from kilter.training.fitting.frequencies import Commonness, recur_by_nature
from kilter.training.fitting.split import fit_schema

CHUNK = 8192  # rows that are encoded together
DIGEST = 16  # bytes of a digest, of which no two rows that differ will ever have the same
SAMPLE = 1_000  # rows whose neighbours are looked at
NEIGHBOURS = 512  # most near-copies of a row that are told from other rows
LINKS = 16  # nearest points of a point that are linked to it at once
DRAWS, DRAWN = 64, 50  # samples by which the dimension of rows is measured, each of so few that copies in it are rare
CHANCE = 1e-3
"""Probability of a gap between neighbours, and of so many such gaps, below which chance does not explain them."""
FEWEST_GROUPS = 10
"""Fewer different rows than these, each in many exact or near copies, are taken for states, such as those of a machine,
that rows to come are in too: nothing in such a table tells the two apart."""
LEAST_SHARE = 0.05
"""Where fewer rows than this share have near-copies, these raise the false-positive rate by about this share of it at
most, which is little beside its own spread."""


class Copies(NamedTuple):
    """The groups of copies among rows, and what they are."""

    group: Positions
    """The number of the group of each row, (rows,), counting up as they appear; a row without copies has its own."""
    repeats: int
    """Rows that are the same as an earlier one."""
    times: int
    """How often the table as a whole stands in itself."""
    natural: bool
    """Whether rows recur by nature, the copies of the whole table aside, and are then no copies."""
    near: int = 0
    """Rows that are nearly the same as an earlier one, and are copies."""

    @property
    def first(self) -> Mask:
        """Whether each row is the first of its group, (rows,)."""
        first = np.zeros(len(self.group), bool)
        first[np.unique(self.group, return_index=True)[1]] = True
        return first


def copies_of_rows(draft: Schema, table: Table, rows: Positions) -> Copies:
    """The groups of copies among some rows of a table, whose columns need no statistics yet.

    Rows are compared as they are encoded with the statistics of all of them, which no model sees, and without times
    and counters: a row that was exported again at another time, or under another number, is a copy. Pictures are
    compared exactly.
    """
    schema = fit_schema(draft, table, rows)
    left_out = [column.is_time or _counts(table.columns[column.name][rows]) for column in schema.columns]
    modality, features = modality_of(schema), schema.features()
    chunks = (take(table, rows[start : start + CHUNK]) for start in range(0, len(rows), CHUNK))
    parts = (part for chunk in chunks for part in modality.encode(chunk))
    if any(feature.size > 1 for feature in features):
        return exact_copies(identities(parts), None)
    compared = np.array([not left_out[feature.column] for feature in features])
    numbers = np.array([feature.kind == "gaussian" for feature in features])
    x = np.concatenate([*parts, np.empty((0, len(features)), np.float32)])
    return find_copies(x[:, compared], numbers[compared])


def _counts(values: Array) -> bool:
    """Whether values, (n,), number the rows in any order: whole numbers, all different, half of their range or more."""
    if values.dtype != np.float64 or len(values) < 2 or not np.isfinite(values).all():
        return False
    whole = bool((values == np.floor(values)).all())
    return whole and bool(np.ptp(values) < 2 * len(values)) and len(np.unique(values)) == len(values)


def without_copies(data: TrainingData) -> TrainingData:
    """The data with one row of each group of copies, normal ones and anomalies apart, and a note if there are any.

    Where rows are split by a column, the rows of a value stand on one side in any case, and all of them stay.
    """
    if data.source.split_by is not None:
        return data
    copies, notes = np.zeros(data.table.rows, bool), list(data.notes)
    for rows, kind in ((data.normal, "normal"), (data.anomalous, "anomalous")):
        if len(rows) > 1:
            groups = copies_of_rows(data.draft, data.table, rows)
            copies[rows[~groups.first]] = True
            notes += copies_in_words(groups, kind)
    return replace(data, copies=copies if copies.any() else None, notes=tuple(notes))


def copies_in_words(copies: Copies, kind: str) -> list[str]:
    """How many records of a kind repeat another one, and what follows, in a sentence; none where none does."""
    rows, distinct = len(copies.group), int(copies.first.sum())
    share = f"of {rows:,} {kind} records ({{:.3g}} %)"
    if distinct < rows:
        aside, near = rows - distinct, f", {copies.near:,} of them nearly" if copies.near else ""
        recurring = " Beyond that, rows recur by nature, and do count." if copies.natural else ""
        return [
            f"{aside:,} {share.format(100 * aside / rows)} are copies of another one{near}. They are left out of fit, "
            f"calibration and evaluation, which count {distinct:,}.{recurring}"
        ]
    if copies.repeats:
        return [
            f"{copies.repeats:,} {share.format(100 * copies.repeats / rows)} repeat another one, as such rows do by "
            "nature. They all count, since rows to come will repeat as often; if rows were copied, remove the copies."
        ]
    return []


def find_copies(x: Matrix, numbers: Mask) -> Copies:
    """The groups of copies among encoded rows, x of shape (n, features), NaN where a value is missing.

    `numbers`, (features,), says which features are standardised numbers, in which near-copies may differ a little.
    """
    same = identities([x])
    first = np.unique(same, return_index=True)[1]
    copies = exact_copies(same, Commonness.of(x[first], np.bincount(same)))
    if copies.natural:
        return copies
    near = near_groups(x[first], numbers)
    return copies._replace(group=_numbered(near[same]), near=len(first) - len(np.unique(near)))


def identities(encoded: Iterable[Matrix]) -> Positions:
    """The number of each encoded row, (n,): rows that are the same have one, and numbers count up as rows appear.

    `encoded` are matrices, (some rows, features). All NaN are the same, and so are 0 and -0.
    """
    numbers: dict[bytes, int] = {}
    same: list[int] = []
    for part in encoded:
        rows = np.ascontiguousarray(part, np.float32) + np.float32(0)
        rows[np.isnan(rows)] = np.nan
        same += [numbers.setdefault(blake2b(row, digest_size=DIGEST).digest(), len(numbers)) for row in rows]
    return np.array(same, np.int64)


def exact_copies(same: Positions, common: Commonness | None) -> Copies:
    """The groups of copies among rows by their `identities`, (n,), and the `Commonness` of the identities, if known.

    Where every row stands in the table five times, what recurs by nature does so besides: the number of times is then
    divided by five, and each five of the same rows are a group.
    """
    counts = np.bincount(same)
    repeats, times = len(same) - len(counts), int(np.gcd.reduce(counts)) if len(counts) else 1
    if (len(counts) - 1) * np.log(times) < -np.log(CHANCE):  # so few rows have a common divisor by chance
        times = 1
    natural = 0 < len(counts) < FEWEST_GROUPS or (len(counts) > 0 and recur_by_nature(counts // times, common))
    if not natural:
        return Copies(same, repeats, times, natural)
    order = np.argsort(same, kind="stable")
    occurrence = np.empty(len(same), np.int64)
    occurrence[order] = np.arange(len(same)) - np.repeat(np.cumsum(counts) - counts, counts)
    return Copies(_numbered(same * len(same) + occurrence // times), repeats, times, natural)


def near_groups(x: Matrix, numbers: Mask) -> Positions:
    """The number of the group of near-copies of each of some rows that differ, x of shape (n, features): (n,).

    Near-copies agree but in numbers, and lie closer together there than chance explains (`closeness`). Groups whose
    sizes are as those of rows that recur by nature are none.
    """
    alone = np.arange(len(x))
    values = np.nan_to_num(x[:, numbers].astype(np.float64))
    closest = closeness(np.unique(values, axis=0)) if values.shape[1] else None
    if closest is None:
        return alone
    others = np.concatenate([x[:, ~numbers], np.isnan(x[:, numbers])], axis=1)
    kinds = identities([others])[:, None] * 2 * closest  # rows that differ in anything else are too far apart
    group = _numbered(linked(np.concatenate([values, kinds], axis=1), closest))
    sizes = np.bincount(group)
    if len(sizes) < FEWEST_GROUPS or (sizes[group] > 1).mean() < LEAST_SHARE:
        return alone
    return alone if recur_by_nature(sizes) else group


def closeness(points: Floats) -> float | None:
    """The distance within which distinct points, (n, axes), are near-copies; None if chance explains how they lie.

    In D dimensions the distance to a neighbour is shorter than 1 / r times that to the next one with a probability of
    r^-D or less. A point has near-copies if, for some neighbour, that is below `CHANCE`, and the distance is the one
    that separates best such neighbours from all others.
    """
    count = min(NEIGHBOURS + 1, len(points) // 2)
    if count < 2:
        return None
    rng = np.random.default_rng(0)
    picked = points[rng.permutation(len(points))[:SAMPLE]]
    search = NearestNeighbors(n_neighbors=count + 1, algorithm="brute").fit(points)
    distances = np.maximum(search.kneighbors(picked)[0][:, 1:], 1e-9)
    gaps = _dimension(points, rng) * np.diff(np.log(distances), axis=1)
    widest = gaps.argmax(axis=1)
    rows = np.arange(len(picked))
    has = gaps[rows, widest] > -np.log(CHANCE)
    if has.mean() < LEAST_SHARE or stats.binom.sf(has.sum() - 1, len(has), CHANCE) > CHANCE:
        return None
    within = np.log(distances[rows, widest][has])
    without = np.log(np.concatenate([distances[rows, widest + 1][has], distances[~has, 0]]))
    edges = np.unique(np.concatenate([within, without]))
    mistakes = (len(within) - np.searchsorted(np.sort(within), edges, side="right")) + np.searchsorted(
        np.sort(without), edges, side="right"
    )
    widths = np.diff(edges, append=edges[-1])
    best = np.lexsort((-widths, mistakes))[0]
    return float(np.exp(edges[best] + widths[best] / 2))


def linked(points: Floats, within: float) -> Positions:
    """The groups of points, (n, axes), that others within a distance link: (n,)."""
    group = leaders = np.arange(len(points))
    while True:
        tree = cKDTree(points[leaders])
        near = tree.query(points[leaders], k=min(LINKS, len(leaders)), distance_upper_bound=within)[1]
        near = near.reshape(len(leaders), -1)
        first, place = np.nonzero(near < len(leaders))
        graph = sparse.coo_array((np.ones(len(first)), (first, near[first, place])), shape=(len(leaders),) * 2)
        count, part = sparse.csgraph.connected_components(graph, directed=False)
        if count == len(leaders):
            return group
        # Groups are at first linked in pieces, since only the nearest are looked at, and then from piece to piece.
        group = part.astype(np.int64)[group]
        leaders = leaders[np.unique(part, return_index=True)[1]]


def _dimension(points: Floats, rng: np.random.Generator) -> float:
    """The dimension of points, (n, axes), by the median ratio of the distances to two nearest in small samples; >= 1.

    (Facco et al., Scientific Reports, 2017.)
    """
    ratios = []
    for _ in range(DRAWS):
        drawn = points[rng.permutation(len(points))[:DRAWN]]
        distances = np.maximum(NearestNeighbors(n_neighbors=2).fit(drawn).kneighbors()[0], 1e-9)
        ratios.append(np.log(distances[:, 1] / distances[:, 0]))
    return max(1.0, float(np.log(2) / max(np.median(np.concatenate(ratios)), 1e-9))) if ratios else 1.0


def _numbered(group: Positions) -> Positions:
    """Groups, (n,), by numbers that count up as they appear."""
    _, first, which = np.unique(group, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[which]
