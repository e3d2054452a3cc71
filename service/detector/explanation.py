"""Why a record is strange: each column is hidden in turn, and the record judged again."""

from itertools import accumulate

import msgspec
import numpy as np

from kilter.service.detector.arrays import Floats, Matrix
from kilter.service.detector.columns.base import Value
from kilter.service.detector.inputs import Table
from kilter.service.detector.runtime import Program
from kilter.service.detector.schema import Schema

CANDIDATES = 32
"""Columns of a record that are hidden in turn: those that surprise the network most."""
CELLS = 1_000_000
"""Cells of the encoded records that are judged at once."""


class Reason(msgspec.Struct, frozen=True):
    """One column's part in a record's score."""

    feature: str
    observed: Value
    expected: Value
    share: float
    """This column's part of all that speaks against the record, in [0, 1]."""


def attribute(
    schema: Schema, program: Program, x: Matrix, score: Floats, surprise: Floats, terms: Floats, expected: Floats
) -> tuple[Floats, Floats]:
    """How much each column speaks against each record, (n, columns), and what is expected of it, (n, features).

    The columns of the records, x of shape (n, features), are hidden in turn. A column counts with how far the score
    falls when it is hidden, and with log(1 + d) if the negative ELBO falls by d nats then: that is how surprising its
    value is among the others, and tells the wrong column where the score, led by the nearest remembered record, falls
    about as far for a column that the wrong one has pulled along. Leaving out and asking again is the plainest
    attribution by perturbation (Robnik-Sikonja and Kononenko, 2008; Zeiler and Fergus, 2014).

    `score`, (n,), and `surprise`, (n,), the negative ELBO, are each record's own, `terms`, (n, columns), the surprise
    of each column, by which the candidates are chosen, and `expected`, (n, features), what the network expects with
    nothing hidden. A column that was not tried has a part of 0.
    """
    belongs = np.array([feature.column for feature in schema.features()])
    candidates = np.argsort(-terms, axis=1, kind="stable")[:, :CANDIDATES]
    against, guess = np.zeros(terms.shape), expected.copy()
    step = max(1, CELLS // (candidates.shape[1] * x.shape[1]))
    for start in range(0, len(x), step):
        picked = candidates[start : start + step]
        hidden = np.repeat(x[start : start + step], picked.shape[1], axis=0)
        own = belongs == picked.reshape(-1, 1)
        hidden[own] = np.inf
        without, reconstruction, kl, anew = program.run(hidden, ("score", "reconstruction", "kl", "expected"))
        fall = score[start : start + step, None] - without.reshape(picked.shape)
        relief = surprise[start : start + step, None] - (reconstruction + kl).reshape(picked.shape)
        np.put_along_axis(against[start : start + step], picked, fall + np.log1p(np.maximum(relief, 0)), axis=1)
        record, feature = np.nonzero(own)
        guess[start + record // picked.shape[1], feature] = anew[record, feature]
    return against, guess


def explain(schema: Schema, table: Table, against: Floats, expected: Floats, limit: int) -> list[list[Reason]]:
    """Up to `limit` reasons for each record from `attribute`, strongest first; none for a column that speaks for it."""
    against = np.maximum(against, 0.0)
    total = against.sum(axis=1)
    order = np.argsort(-against, axis=1, kind="stable")[:, :limit]
    first = [0, *accumulate(len(column.features(0)) for column in schema.columns)]
    unread = {problem.row for problem in table.problems}
    explained: list[list[Reason]] = []
    for row in range(table.rows):
        reasons = []
        for i in order[row]:
            if row in unread or not against[row, i] > 0:
                break
            column = schema.columns[i]
            reasons.append(
                Reason(
                    column.name,
                    column.shown(table.columns[column.name][row]),
                    column.expected(expected[row, first[i] : first[i + 1]]),
                    round(float(against[row, i] / total[row]), 4),
                )
            )
        explained.append(reasons)
    return explained
