"""How much each column speaks against a record, and what was expected of it: the column is hidden, and the record
judged again.
"""

import numpy as np
import numpy.typing as npt

from kilter.service.detector.runtime import Matrix, Program
from kilter.service.detector.schema import Schema

Floats = npt.NDArray[np.float64]
CANDIDATES = 32
"""Columns of a record that are hidden in turn: those that surprise the network most."""
CELLS = 1_000_000
"""Cells of the encoded records that are judged at once."""


def attribute(
    schema: Schema, program: Program, x: Matrix, score: Floats, surprise: Floats, terms: Floats, expected: Floats
) -> tuple[Floats, Floats]:
    """How much each column speaks against each record, (n, columns), and what was expected of it, (n, features).

    A column counts with how far the score falls when it is hidden, and with log(1 + d) if the negative ELBO falls by d
    nats then: that is how surprising its value is among the others, and tells the wrong column where the score, led by
    the nearest remembered record, falls about as far for a column that the wrong one has pulled along. Leaving out and
    asking again is the plainest attribution by perturbation (Robnik-Sikonja and Kononenko, 2008; Zeiler and Fergus,
    2014).

    `score`, (n,), and `surprise`, (n,), the negative ELBO, are each record's own, `terms`, (n, columns), the surprise
    of each column, by which the candidates are chosen, and `expected`, (n, features), what the network expects with all
    in sight. A column that was not tried has a part of 0.
    """
    belongs = np.array([feature.column for feature in schema.features()])
    tried = np.argsort(-terms, axis=1, kind="stable")[:, :CANDIDATES]
    part, given = np.zeros(terms.shape), expected.copy()
    step = max(1, CELLS // (tried.shape[1] * x.shape[1]))
    for start in range(0, len(x), step):
        picked = tried[start : start + step]
        hidden = np.repeat(x[start : start + step], picked.shape[1], axis=0)
        own = belongs == picked.reshape(-1, 1)
        hidden[own] = np.inf
        without, reconstruction, kl, anew = program.run(hidden, ("score", "reconstruction", "kl", "expected"))
        fall = score[start : start + step, None] - without.reshape(picked.shape)
        relief = surprise[start : start + step, None] - (reconstruction + kl).reshape(picked.shape)
        np.put_along_axis(part[start : start + step], picked, fall + np.log1p(np.maximum(relief, 0)), axis=1)
        record, feature = np.nonzero(own)
        given[start + record // picked.shape[1], feature] = anew[record, feature]
    return part, given
