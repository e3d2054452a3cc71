"""Known records that are like others: the nearest ones, by how far apart their points are.

Known are the rows that a score remembers, or records that are given. A point is where the score compares records, which
the program `place` gives; of a model whose score remembers no whole records it is the record's code, but for the light
of a picture.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Floats, Matrix, Positions
from kilter.service.detector.errors import ArtifactError, KilterError
from kilter.service.detector.exemplars import SCALE, Exemplars, exemplars_of
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.latent import LatentSpace
from kilter.service.detector.manifest import Manifest
from kilter.service.detector.modalities.base import Modality
from kilter.service.detector.runtime import RETRAIN, Program
from kilter.service.detector.scores import find_score_kind
from kilter.service.detector.scores.moves import CANDIDATES, MOST_SIDE, moved_distances

ORIGIN_ROWS, ORIGIN_FILES, ORIGIN_NAMES = "origin.rows", "origin.files", "origin.names"
"""Tensors: where each remembered row stands in its file, from 0, the number of that file, and the pictures' names."""
MOST = 100  # known records that are shown of a record
SPARE = 16  # candidates beside them, since products in float32 tell near distances only roughly
PRODUCTS = 1 << 22  # distances that are in memory at once
DECIMALS = 4


class Origins(NamedTuple):
    """Where known records stand."""

    rows: Positions
    """The number of each in its file, from 0, (n,)."""
    files: Sequence[str | None]
    """The names of the files."""
    file: Positions | None = None
    """Which of them each is from, (n,); None where there is one."""
    names: Sequence[str] | None = None
    """Of pictures, (n,)."""


class Likeness(msgspec.Struct, frozen=True, omit_defaults=True):
    """A known record that is like another one."""

    distance: float
    row: int | None = None
    """Its number in the file that it is from, from 0; None if the model keeps no numbers."""
    file: str | None = None
    """The name of that file, as far as it is known."""
    name: str | None = None
    """That of a picture."""
    record: dict[str, Any] | None = None
    """Its fields; None of a picture."""


class KnownRecords(NamedTuple):
    """Records among which similar ones are looked for."""

    points: Matrix
    """(n, axes)."""
    origins: Origins | None
    records: Callable[[Positions], Table] | None
    """Gives those at some positions; None of pictures."""


class SimilaritySearch:
    """Finds the known records that are nearest to others."""

    def __init__(self, modality: Modality, program: Program, latent: LatentSpace, manifest: Manifest) -> None:
        self.modality = modality
        self.memory: KnownRecords | None = None
        """The rows that the score remembers."""
        kind = find_score_kind(manifest.score.kind)
        self.by_code = kind.rows is None and kind.place is not None
        """Whether points are codes; of a model whose score is no longer trained there are none."""
        self._program, self._latent = program, latent
        self._able = self.by_code or "place" in manifest.programs
        self._model, self._score = f"the model {manifest.name}", manifest.score.name

    def check(self, *, among: bool) -> None:
        """Raise KilterError if the model cannot tell what is similar, in its memory or `among` given records."""
        if not self._able:
            raise KilterError(f"{self._model} holds no program 'place', by which records are compared: {RETRAIN}")
        if self.by_code:
            self._latent.check()
        if not among and self.memory is None:
            raise KilterError(
                f"{self._model} remembers no whole records, since its score is {self._score}: name known ones to look "
                "among, or train a model with the score neighbours"
            )

    def points(self, table: Table) -> Matrix:
        """The points of the records of a table, (n, axes)."""
        if self.by_code:
            codes = self._latent.encode(table)
            return codes[:, : codes.shape[1] - self._latent.beside].astype(np.float32)
        parts = [self._program.run(x, ("point",))[0] for x in self.modality.encode(table)]
        return np.concatenate(parts).astype(np.float32)

    def known(self, table: Table, origins: Origins | None = None) -> KnownRecords:
        """The records of a table, to look among; they are counted from 0 if they are not from elsewhere."""
        self.check(among=True)
        if not table.rows:
            raise KilterError("there are no known records to look among")
        records = (lambda rows: take(table, rows)) if self.modality.has_fields else None
        return KnownRecords(self.points(table), origins or Origins(np.arange(table.rows), [None]), records)

    def nearest(self, table: Table, k: int, known: KnownRecords | None = None) -> tuple[Floats, Positions]:
        """The distances and positions of the k known records that are nearest to each of a table: (n, k).

        Known are those that the score remembers, if no others are given. Raises KilterError.
        """
        self.check(among=known is not None)
        if not 1 <= k <= MOST:
            raise KilterError(f"of each record from 1 to {MOST} similar ones are shown, not {k}")
        those = known or self.memory
        assert those is not None  # noqa: S101 (checked above)
        k = min(k, len(those.points))
        shape = None if self.by_code or self.modality.has_fields else self._compared()
        if not table.rows:
            return np.empty((0, k)), np.empty((0, k), np.int64)
        return nearest_points(self.points(table), those.points, k, shape)

    def find(self, table: Table, k: int, known: KnownRecords | None = None) -> list[list[Likeness]]:
        """The k known records that are nearest to each of a table, nearest first. Raises KilterError."""
        distances, positions = self.nearest(table, k, known)
        those = known or self.memory
        assert those is not None  # noqa: S101 (checked above)
        near = iter(likenesses(self.modality, those, distances.ravel(), positions.ravel()))
        return [[next(near) for _ in row] for row in positions]

    def audit(self, table: Table) -> None:
        """Raise ArtifactError if the program does not fit what is remembered, tried on a record."""
        if self.memory is None:
            return
        axes, size = self.points(take(table, np.array([0]))).shape[1], self.memory.points.shape[1]
        if axes != size:
            raise ArtifactError(f"a remembered row has {size} axes, and the program 'place' gives {axes}")

    def _compared(self) -> tuple[int, int, int]:
        """Channels, height and width at which pictures are compared."""
        height, width, channels = self.modality.schema.columns[0].shape
        return channels, min(height, MOST_SIDE), min(width, MOST_SIDE)


def nearest_points(
    points: Matrix, known: Matrix, k: int, shape: tuple[int, int, int] | None = None
) -> tuple[Floats, Positions]:
    """Distances and positions of the k known points, (m, axes), nearest to each of others, (n, axes): (n, k) each.

    Of points of one distance the first are taken. With the `shape` of pictures small parts of them may move.
    """
    shift = known.mean(axis=0)
    centred = known - shift
    half_square = 0.5 * np.square(centred).sum(axis=1)
    count = min(len(known), k + SPARE if shape is None else max(2 * k, CANDIDATES))
    step = max(1, PRODUCTS // max(len(known), count * known.shape[1]))
    distances, positions = [], []
    for start in range(0, len(points), step):
        part = points[start : start + step]
        rough = half_square - (part - shift) @ centred.T
        near = np.sort(np.argpartition(rough, count - 1, axis=1)[:, :count], axis=1)
        if shape is None:
            square = np.square(part[:, None].astype(np.float64) - known[near]).sum(axis=2)
        else:
            square = np.stack([moved_distances(*pair, shape) for pair in zip(part, known[near], strict=True)])
        exact = np.sqrt(square).round(DECIMALS)
        order = exact.argsort(axis=1, kind="stable")[:, :k]
        distances.append(np.take_along_axis(exact, order, axis=1))
        positions.append(np.take_along_axis(near, order, axis=1))
    return np.concatenate(distances), np.concatenate(positions)


def likenesses(modality: Modality, known: KnownRecords, distances: Floats, positions: Positions) -> list[Likeness]:
    """Known records at some positions, (n,), with their distances."""
    records: Sequence[dict[str, Any] | None] = [None] * len(positions)
    if known.records is not None and len(positions):
        records = modality.records(known.records(positions))
    places = [origin_of(known.origins, position) for position in positions.tolist()]
    return [
        Likeness(distance, *place, record)
        for distance, place, record in zip(distances.tolist(), places, records, strict=True)
    ]


def origin_of(origins: Origins | None, position: int) -> tuple[int | None, str | None, str | None]:
    """The row, file and name of the known record at a position."""
    if origins is None:
        return None, None, None
    file = origins.files[0 if origins.file is None else int(origins.file[position])]
    return int(origins.rows[position]), file, None if origins.names is None else origins.names[position]


def origin_tensors(rows: Positions, file: Positions | None, names: Sequence[str] | None) -> dict[str, Array]:
    """What an artifact holds of origins, but for the names of files."""
    tensors: dict[str, Array] = {ORIGIN_ROWS: rows.astype(np.int64)}
    if file is not None:
        tensors[ORIGIN_FILES] = file.astype(np.int32)
    if names is not None:
        tensors[ORIGIN_NAMES] = np.frombuffer("\0".join(names).encode("utf-8", "surrogateescape"), np.uint8)
    return tensors


def origins_of(tensors: Mapping[str, Array], files: Sequence[str], size: int) -> Origins | None:
    """The origins of so many remembered rows; None of an artifact without. Raises ArtifactError if they do not fit."""
    if ORIGIN_ROWS not in tensors:
        return None
    rows, file, names = tensors[ORIGIN_ROWS], tensors.get(ORIGIN_FILES), None
    if ORIGIN_NAMES in tensors:
        names = tensors[ORIGIN_NAMES].tobytes().decode("utf-8", "surrogateescape").split("\0")
    shapes = {part.shape for part in (rows, file) if part is not None} | {(size if names is None else len(names),)}
    if shapes != {(size,)}:
        raise ArtifactError(f"tensors {ORIGIN_ROWS!r} and beside: there are not as many as the {size} remembered rows")
    if file is not None and not ((file >= 0) & (file < len(files))).all():
        raise ArtifactError(f"tensor {ORIGIN_FILES!r} numbers files that the manifest does not name")
    return Origins(rows, files or [None], file, names)


def open_memory(modality: Modality, manifest: Manifest, tensors: Mapping[str, Array]) -> KnownRecords | None:
    """The rows that the score of an artifact remembers; None if it has no points. Raises ArtifactError."""
    name = find_score_kind(manifest.score.kind).rows
    if name is None or "place" not in manifest.programs:
        return None
    points = np.array(tensors[name], np.float32)
    origins = origins_of(tensors, [file.name for file in manifest.training.files], len(points))
    if not modality.has_fields:
        return KnownRecords(points, origins, None)
    exemplars, gone = _by_geometry(manifest, tensors) if SCALE in tensors else _by_vectors(manifest, points, tensors)
    if SCALE not in tensors:  # novelties are an axis more, and a remembered row has none
        points = np.pad(points, ((0, 0), (0, 1)))
    column = np.array([feature.column for feature in manifest.schema.features()])

    def records(rows: Positions) -> Table:
        x = exemplars.encoded(rows)
        x[gone[rows][:, column]] = np.nan
        return modality.decode(x)

    return KnownRecords(points, origins, records)


def _by_geometry(manifest: Manifest, tensors: Mapping[str, Array]) -> tuple[Exemplars, Array]:
    """Rows in the space of `Geometry`, and whether each lacked each column, (n, columns)."""
    exemplars = exemplars_of(manifest.schema.features(), tensors)
    assert exemplars is not None  # noqa: S101 (it has the tensors)
    shape = manifest.score.shape["geometry"]
    absent = tensors["score.memory.rows"][:, shape["dense"] : shape["dense"] + len(shape["missing"])]
    return exemplars, _gone(manifest, shape["missing"], absent, tensors["score.geometry.missing_weight"])


def _by_vectors(manifest: Manifest, points: Matrix, tensors: Mapping[str, Array]) -> tuple[Exemplars, Array]:
    """Rows as `Vectors` has them, and whether each lacked each column, (n, columns)."""
    shape, features = manifest.score.shape["vectors"], manifest.schema.features()
    count = len(shape["varying"])
    whole = points + tensors["score.center"]
    dense = np.repeat(tensors["score.vectors.constant"][None], len(points), axis=0)
    dense[:, shape["varying"]] = whole[:, :count] / tensors["score.vectors.scale"]
    exemplars = Exemplars(features, dense, np.ones(dense.shape[1], np.float32))
    return exemplars, _gone(manifest, shape["missing"], whole[:, count:], tensors["score.vectors.missing_weight"])


def _gone(manifest: Manifest, missing: Sequence[int], absent: Matrix, weight: Matrix) -> Array:
    gone = np.zeros((len(absent), len(manifest.schema.columns)), bool)
    gone[:, list(missing)] = absent > weight / 2
    return gone
