"""Synthetic records of a table, field by field, in random order: each is drawn given those that were drawn before it.

The network gives the probability of each code of a field given any others, as an order-agnostic autoregressive model
does (Uria, Murray and Larochelle, A deep and tractable density estimator, 2014; Tiwald et al., TabularARGN, 2025). So
a condition is exact: the fields of it are there from the start.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Floats, Mask, Matrix, Positions
from kilter.service.detector.errors import ArtifactError, KilterError
from kilter.service.detector.generation.base import Generator
from kilter.service.detector.generation.fields import FieldCodes, FieldShape, conditions_of, split_numbers
from kilter.service.detector.inputs import Table
from kilter.service.detector.runtime import quiet_session
from kilter.service.detector.schema import Schema
from kilter.service.detector.sketch import SIZE, row_hashes

NUMBERS, ROWS_FITTED = "generator.numbers", "generator.rows"
"""Tensors: what is kept of the fields, and the smallest hashes of the fitting rows, at most SIZE."""
ORDERS = 64  # orders of the fields that many records share; of fewer records each so many have one
ROWS = (64, 2048)  # fewest and most records that have an order in common
KEPT = 0.5  # the probability that a record keeps a field of the one that it is to lie near
INPUTS, OUTPUT = ("codes", "field"), "chances"


class UnmaskingShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The codes of each field of the schema, in its order."""

    fields: tuple[FieldShape, ...]

    @property
    def widest(self) -> int:
        """The most codes that a field has."""
        return max(field.size for field in self.fields)


class UnmaskingGenerator(Generator):
    """Draws records by a program that takes codes, (n, fields), a hidden one being a field's number of codes.

    And the position of a field, (1,), of which it gives the chances of the codes, (n, widest), which sum to 1.
    """

    shape_type = UnmaskingShape

    def __init__(self, schema: Schema, shape: UnmaskingShape, tensors: Mapping[str, Array], program: bytes) -> None:
        """Raises ArtifactError if they do not fit each other."""
        if len(shape.fields) != len(schema.fields) or NUMBERS not in tensors:
            raise ArtifactError(f"a generator of {len(shape.fields)} fields is no generator for {len(schema.fields)}")
        self._schema = schema
        self._shape = shape
        parts = zip(schema.fields, shape.fields, split_numbers(shape.fields, tensors[NUMBERS]), strict=True)
        self._fields = {column.name: FieldCodes(column, own, numbers) for column, own, numbers in parts}
        self._hidden = np.array([field.size for field in shape.fields])
        self._session = quiet_session(program)
        self._rows = tensors.get(ROWS_FITTED, np.empty(0, np.uint64))
        if self._rows.dtype != np.uint64 or self._rows.ndim != 1:
            raise ArtifactError(f"tensor {ROWS_FITTED!r} holds no hashes of 64 bits")

    def draw(
        self,
        count: int,
        rng: np.random.Generator,
        near: Table | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> Table:
        if near is not None and not near.rows:
            raise KilterError("there is no record to be near to")
        columns, codes = {}, np.tile(self._hidden, (count, 1))
        stated = conditions_of(self._fields, where or {}, self._schema.decimal, self._schema.null_tokens)
        picked = rng.integers(near.rows, size=count) if near is not None else np.zeros(count, np.int64)
        for i, (name, field) in enumerate(self._fields.items()):
            values = np.empty(count, field.column.dtype)
            given = np.zeros(count, bool)
            if near is not None:
                values = near.columns[name][picked]
                given = rng.random(count) < KEPT
            if name in stated:
                values[:], given[:] = [stated[name]] * count, True
            own = np.full(count, -1)
            own[given] = field.encode(values[given])
            # What has no code, such as a level that training never saw, is drawn as if it were not given.
            codes[own >= 0, i] = own[own >= 0]
            columns[name] = (values, own >= 0)
        self._unmask(codes, rng)
        made = {}
        for i, (name, field) in enumerate(self._fields.items()):
            values, given = columns[name]
            made[name] = field.decode(codes[:, i], rng)
            made[name][given] = values[given]
        return Table(made, count, [])

    def _unmask(self, codes: Positions, rng: np.random.Generator) -> None:
        """Draw the hidden codes, in their places."""
        size = min(max(-(-len(codes) // ORDERS), ROWS[0]), ROWS[1])
        for start in range(0, len(codes), size):
            part = codes[start : start + size]
            for i in rng.permutation(codes.shape[1]):
                hidden = part[:, i] == self._hidden[i]
                if hidden.any():
                    part[hidden, i] = self._pick(i, self._chances(part, i)[hidden], rng)

    def _chances(self, codes: Positions, field: int) -> Floats:
        inputs = dict(zip(INPUTS, (codes, np.array([field])), strict=True))
        chances: Floats = self._session.run([OUTPUT], inputs)[0].astype(np.float64)
        return chances

    def _pick(self, field: int, chances: Floats, rng: np.random.Generator) -> Positions:
        shape = self._shape.fields[field]
        may: Mask = np.ones(shape.size, bool)
        may[shape.known - shape.rest : shape.known] = False
        sums = np.cumsum(chances[:, : shape.size] * may, axis=1)
        below = rng.random(len(chances))[:, None] * sums[:, -1:]
        picked: Positions = (sums <= below).sum(axis=1).clip(0, shape.size - 1)
        return picked

    def were_fitted(self, figures: Matrix) -> tuple[Mask, Mask]:
        hashes = row_hashes(figures)
        full = len(self._rows) >= SIZE
        tested = hashes <= self._rows.max() if full else np.ones(len(hashes), bool)
        return tested, np.isin(hashes, self._rows)

    def audit(self) -> None:
        hidden = np.tile(self._hidden, (2, 1))
        for i, (name, field) in enumerate(self._fields.items()):
            try:
                chances = self._chances(hidden, i)
            except Exception as error:  # ONNX Runtime's own exceptions have no common base that it exports
                raise ArtifactError(f"the program of the generator cannot be run: {error}") from None
            there = np.broadcast_to(np.arange(self._shape.widest) < field.shape.size, (2, self._shape.widest))
            if chances.shape != there.shape or not np.array_equal(chances > 0, there):
                raise ArtifactError(f"the program of the generator gives no chances of {name!r} for its codes")
