"""The nearest normal of a record: the fewest fields that have to change, and by how little, for it to be normal."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Floats, Mask, Matrix
from kilter.service.detector.calibration import DECIMALS, rounded
from kilter.service.detector.columns.base import Value
from kilter.service.detector.errors import KilterError
from kilter.service.detector.exemplars import Exemplars
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.modalities.base import Modality
from kilter.service.detector.modalities.tables import CANDIDATES, attribute
from kilter.service.detector.names import name_form, suggestion
from kilter.service.detector.runtime import OUTPUTS, Program
from kilter.service.detector.thresholds import Thresholds

ALIKE = 2  # exemplars whose values are tried in a field
NEAREST = 12  # exemplars that a record is made like where many fields have to change
FEWEST = 3  # fields that are changed one after the other; beyond, many at once, some of which are spared again
USUAL = 0.95  # share of the exemplars in which a column's surprise is no unusual one
MOST_MEASURED = 1024  # exemplars by which that is measured
NEARLY = 1.92
"""The same where there are no exemplars, in nats: half the 95 % quantile of chi-squared with one degree of freedom."""
GROWTH = 1.3  # of the number of fields that are replaced at once
SPARING = 8  # most rounds in which fields are spared


class Change(msgspec.Struct, frozen=True):
    """A field of a record that has to change."""

    field: str
    before: Value = msgspec.field(name="from")
    after: Value = msgspec.field(name="to")


class NearestNormal(msgspec.Struct, frozen=True):
    """The fewest and smallest changes after which a record is scored as normal."""

    normal: bool
    """Whether the record with the changes is scored as normal; if not, none were found, and there are none here."""
    changes: tuple[Change, ...]
    """None for a record that is normal as it is."""
    score: float
    """Of the record with the changes."""
    p_value: float


class Variant(NamedTuple):
    """A record with typed values of its own in some columns, and as the program takes it, (features,)."""

    values: Mapping[int, Any]
    x: Matrix


class NormalFinder:
    """Finds the nearest normals of records by a model."""

    def __init__(
        self,
        modality: Modality,
        program: Program,
        thresholds: Thresholds,
        tolerance: float,
        model: str,
        exemplars: Exemplars | None = None,
    ) -> None:
        """`exemplars` are records that are known to be normal, if any are known.

        `tolerance` is by how much devices may disagree on a score: so much is left to the threshold."""
        self.modality, self.program, self.thresholds = modality, program, thresholds
        self.columns = modality.schema.columns
        sizes = [len(column.features(0)) for column in self.columns]
        self.places = [slice(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]
        """Where the features of each column are."""
        self.exemplars, self._tolerance, self._model = exemplars, tolerance, model

    def kept(self, names: Collection[str]) -> frozenset[int]:
        """The positions of the columns of those names, and of the one that groups records, which are not changed.

        Raises KilterError for a name that the model does not know, and if its records have no fields.
        """
        if not self.modality.has_fields:
            raise KilterError(
                f"a nearest normal is one of records of fields, and the model {self._model} judges pictures: "
                "the reconstruction of one is what it has that is like it"
            )
        if isinstance(names, str):
            raise KilterError(f"the fields to keep are a list of names, like [{names!r}]")
        schema, groups = self.modality.schema, self.thresholds.groups
        known = {name_form(column.name) for column in schema.fields}
        for name in names:
            if name_form(name) not in known:
                raise KilterError(f"there is no field {name!r} to keep{suggestion(name, schema.names)}")
        kept = {*map(name_form, names), *(() if groups is None else (name_form(groups.column.name),))}
        return frozenset(i for i, column in enumerate(self.columns) if name_form(column.name) in kept)

    def find_all(self, table: Table, wanted: Mask, kept: Collection[int] = ()) -> list[NearestNormal | None]:
        """The nearest normals of the wanted records of a table, None for each other one."""
        return [self.find(take(table, np.array([row])), kept) if wanted[row] else None for row in range(table.rows)]

    def find(self, table: Table, kept: Collection[int] = ()) -> NearestNormal:
        """The nearest normal of the one record of a table; columns `kept`, by their positions, are not changed."""
        return _Search(self, table, kept).run()

    @cached_property
    def usual(self) -> Floats:
        """The surprise of each column that is no unusual one, in nats above its median: (columns,)."""
        if self.exemplars is None:
            return np.full(len(self.columns), NEARLY)
        rows = np.linspace(0, len(self.exemplars) - 1, min(len(self.exemplars), MOST_MEASURED)).astype(np.int64)
        (terms,) = self.program.run(self.exemplars.encoded(rows), ("terms",))
        quantiles: Floats = np.quantile(terms, USUAL, axis=0)
        return quantiles

    def limit(self, threshold: float) -> float:
        """The highest score that is normal wherever the model runs."""
        return threshold - self._tolerance * max(1.0, abs(threshold))


class _Search:
    """The search for the nearest normal of one record.

    What a field might hold instead is asked of the network, which has learned to fill in hidden fields: the field is
    hidden, with those changed before, and what is expected then is tried, beside the nearest value of the range that
    training saw and the commonest levels. Where none of these is enough, so are the values of exemplars that are alike
    in all other fields, which go together. The change after which the score is lowest is made, or, where some are
    enough, that of the strongest reason; a second and a third field follow where none is.

    Where three are not enough, many fields are replaced at once, by what is expected of them together or by an
    exemplar that is near. At last every field is spared that need not change, and every value is taken back towards
    what it was, as far as the record stays normal.
    """

    def __init__(self, finder: NormalFinder, table: Table, kept: Collection[int]) -> None:
        self.finder, self.program, self.columns, self.places = finder, finder.program, finder.columns, finder.places
        self.table = table
        self.free = [i for i in range(len(self.columns)) if i not in kept]
        """The columns that may be changed; once the record is looked into, those first that speak most against it."""
        self.record = Variant({}, next(finder.modality.encode(table))[0])
        self.terms: Floats = np.empty(0)
        """The surprise of each column of the record, in nats above what is usual."""
        self.limit = np.inf
        self.distances: Floats | None = None
        """The squared distances from exemplars, (exemplars, columns), if there are any."""

    def run(self) -> NearestNormal:
        """Search, and judge what was found as any record is."""
        finder, x = self.finder, self.record.x[None]
        score, reconstruction, kl, terms, expected = self.program.run(x, OUTPUTS)
        judged = finder.thresholds.judge(rounded(score, DECIMALS), self.table)
        if not judged.anomaly[0]:
            return self.judge(self.record)
        common = finder.thresholds.common.threshold
        self.limit = finder.limit(common if judged.threshold is None else float(judged.threshold[0]))
        schema, surprise = finder.modality.schema, reconstruction + kl
        against, _ = attribute(schema, self.program, x, score, surprise, terms, expected)
        self.terms = terms[0]
        if finder.exemplars is not None:
            self.distances = finder.exemplars.distances(x[0])
        self.free.sort(key=lambda i: (-against[0, i], -terms[0, i]))
        variant = self.few() or self.many()
        return self.judge(self.record if variant is None else self.shrink(self.spare(variant)))

    def judge(self, variant: Variant) -> NearestNormal:
        """The verdict on a record whose changes are written as its own file would have them, and read again."""
        columns = dict(self.table.columns)
        changes = []
        for i in sorted(variant.values, key=self.free.index):
            column, value = self.columns[i], variant.values[i]
            change = Change(column.name, column.cell(columns[column.name][0]), column.cell(value))
            changes.append(change)
            columns[column.name] = as_array(column, [column.read(change.after)])
        table = self.table._replace(columns=columns)
        score = rounded(self.finder.modality.score(self.program, table, 0).score, DECIMALS)
        p_value, anomaly, _, _ = self.finder.thresholds.judge(score, table)
        normal = not anomaly[0]
        return NearestNormal(normal, tuple(changes) if normal else (), float(score[0]), float(p_value[0]))

    def few(self) -> Variant | None:
        """Up to three changes, each the best beside those before it; None if they are not enough."""
        variant = self.record
        for _ in range(min(FEWEST, len(self.free))):
            tried = self.free[: CANDIDATES // (1 + len(variant.values))]
            others = [i for i in tried if i not in variant.values]
            variants = self.as_expected(variant, others)
            if not variants:
                return None
            scores = self.scores(variants)
            if scores.min() > self.limit and (alike := self.like_exemplars(variant, others)):
                variants, scores = variants + alike, np.concatenate([scores, self.scores(alike)])
            best = self.pick(variant, variants, scores)
            variant = variants[best]
            if scores[best] <= self.limit:
                return variant
        return None

    def pick(self, variant: Variant, variants: Sequence[Variant], scores: Floats) -> int:
        """The best of variants with one more field: of those that are enough, one of the strongest reason."""
        enough = scores <= self.limit
        if not enough.any():
            return int(scores.argmin())
        rank = {column: place for place, column in enumerate(self.free)}
        new = [[rank[i] for i in one.values if i not in variant.values] for one in variants]
        places = np.array([min(some, default=len(rank)) for some in new])
        return int(np.lexsort((scores, places, ~enough))[0])

    def as_expected(self, variant: Variant, others: Sequence[int]) -> list[Variant]:
        """With one more of some columns changed, to what is expected of it, also beside those changed before."""
        groups = [[*variant.values, i] for i in others]
        expected = self.expect(groups, variant.x)
        variants = []
        for i, features in zip(others, expected, strict=True):
            value = self.table.columns[self.columns[i].name][0]
            variants += self.with_one(variant, i, self.columns[i].replacements(value, features[self.places[i]]))
        if variant.values:
            variants += self.with_many(groups, expected)
        return variants

    def like_exemplars(self, variant: Variant, others: Sequence[int]) -> list[Variant]:
        """With each of some columns, and those changed before, as in exemplars that are alike in all others."""
        if self.distances is None or self.finder.exemplars is None:
            return []
        changed = list(variant.values)
        rest = self.distances.sum(axis=1) - self.distances[:, changed].sum(axis=1)
        alike = rest[:, None] - self.distances[:, others]
        nearest = np.argpartition(alike, min(ALIKE, len(alike)) - 1, axis=0)[:ALIKE]
        groups = [[*changed, i] for i in others for _ in nearest]
        return self.with_many(groups, self.finder.exemplars.encoded(nearest.T.ravel()))

    def many(self) -> Variant | None:
        """As many changes as are needed; None if not even all help.

        The fields are as they are expected together, or as in an exemplar, those first that differ most from it.
        """
        counts = sorted({round(FEWEST * GROWTH**k) for k in range(40)} & {*range(len(self.free))} | {len(self.free)})
        groups = [self.free[:count] for count in counts]
        features = self.expect(groups, self.record.x)
        if self.distances is not None and self.finder.exemplars is not None:
            free = self.distances[:, self.free]
            nearest = np.argsort(np.sqrt(free).sum(axis=1), kind="stable")[:NEAREST]
            order = np.array(self.free)[np.argsort(-free[nearest], axis=1, kind="stable")].tolist()
            groups += [columns[:count] for columns in order for count in counts]
            rows = np.repeat(nearest, len(counts))
            features = np.concatenate([features, self.finder.exemplars.encoded(rows)])
        variants = self.with_many(groups, features)
        scores = self.scores(variants)
        sizes = np.array([len(variant.values) for variant in variants])
        best = np.lexsort((scores, sizes, scores > self.limit))[0]
        return variants[best] if scores[best] <= self.limit else None

    def spare(self, variant: Variant) -> Variant:
        """Without the changes that are not needed."""
        for _ in range(SPARING):
            names = list(variant.values)
            if len(names) < 2:
                return variant
            single = self.scores([self.without(variant, [i]) for i in names])
            order = [names[k] for k in single.argsort(kind="stable")]
            variants = [self.without(variant, order[:count]) for count in range(1, len(order))]
            enough = np.flatnonzero(self.scores(variants) <= self.limit)
            if not len(enough):
                return variant
            variant = variants[enough[-1]]
        return variant

    def shrink(self, variant: Variant) -> Variant:
        """With values as near to what they were as the record stays normal, and as its fields stay plausible.

        That is, the field's own value is no unusual surprise any more, and no other field becomes one. What cannot be
        had is let go, the latter first.
        """
        for i, value in list(variant.values.items()):
            column = self.columns[i]
            way = column.way(self.table.columns[column.name][0], value)
            variants = [*self.with_one(variant, i, way), variant]
            scores, terms = self.run_all(variants, ("score", "terms"))
            enough = rounded(scores, DECIMALS) <= self.limit
            usual = self.finder.usual
            likely = terms[:, i] <= max(usual[i], terms[-1, i])
            others = [j for j in range(len(self.columns)) if j not in variant.values]
            calm = (terms <= np.maximum(self.terms, usual))[:, others].all(axis=1)
            variant = variants[int(np.lexsort((~calm, ~likely, ~enough))[0])]
        return variant

    def expect(self, groups: Sequence[Sequence[int]], x: Matrix) -> Floats:
        """What is expected of an encoded record in which groups of columns are hidden in turn: (groups, features)."""
        hidden = np.repeat(x[None], len(groups), axis=0)
        for row, group in zip(hidden, groups, strict=True):
            for i in group:
                row[self.places[i]] = np.inf
        (expected,) = self.program.run(hidden, ("expected",))
        return expected

    def with_one(self, variant: Variant, i: int, values: Sequence[Any]) -> list[Variant]:
        """The same with each of several typed values in a column."""
        if not values:
            return []
        x = np.repeat(variant.x[None], len(values), axis=0)
        x[:, self.places[i]] = self.columns[i].encode(as_array(self.columns[i], values))
        return [Variant({**variant.values, i: value}, row) for value, row in zip(values, x, strict=True)]

    def with_many(self, groups: Sequence[Sequence[int]], expected: Array) -> list[Variant]:
        """The record with groups of columns as they are expected, (groups, features)."""
        x = np.repeat(self.record.x[None], len(groups), axis=0)
        values: list[dict[int, Any]] = [{} for _ in groups]
        members: dict[int, list[int]] = {}
        for row, group in enumerate(groups):
            for i in group:
                members.setdefault(i, []).append(row)
        for i, rows in members.items():
            value = self.table.columns[self.columns[i].name][0]
            typed = self.columns[i].stand_ins(value, expected[rows, self.places[i]])
            x[rows, self.places[i]] = self.columns[i].encode(typed)
            for row, new in zip(rows, typed, strict=True):
                if new != value:
                    values[row][i] = new
        return list(map(Variant, values, x))

    def without(self, variant: Variant, columns: Collection[int]) -> Variant:
        """The same with some columns as they were."""
        x = variant.x.copy()
        for i in columns:
            x[self.places[i]] = self.record.x[self.places[i]]
        return Variant({i: value for i, value in variant.values.items() if i not in columns}, x)

    def scores(self, variants: Sequence[Variant]) -> Floats:
        """The scores of variants."""
        return rounded(self.run_all(variants, ("score",))[0], DECIMALS)

    def run_all(self, variants: Sequence[Variant], outputs: Sequence[str]) -> list[Floats]:
        """Outputs of the program for variants."""
        return self.program.run(np.stack([variant.x for variant in variants]), outputs)


def as_array(column: Any, values: Sequence[Any]) -> Array:
    """Typed values of a column as an array."""
    array = np.empty(len(values), column.dtype)
    array[:] = values
    return array
