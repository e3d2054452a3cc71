"""What each column adds to a record's score, and what was expected of it: the column is hidden, and the record judged
again.
"""

import numpy as np
import numpy.typing as npt

from service.detector.runtime import Matrix, Program
from service.detector.schema import Schema

Floats = npt.NDArray[np.float64]
CANDIDATES = 32
"""Columns of a record that are hidden in turn: those that surprise the network most."""
CELLS = 1_000_000
"""Cells of the encoded records that are judged at once."""


def attribute(
    schema: Schema, program: Program, x: Matrix, score: Floats, terms: Floats, expected: Floats
) -> tuple[Floats, Floats]:
    """The fall of each score when a column is hidden, (n, columns), and what was expected then, (n, features).

    `score`, (n,), is each record's own, `terms`, (n, columns), the surprise of each column, by which the candidates are
    chosen, and `expected`, (n, features), what the network expects with all in sight. A column that was not tried has a
    fall of 0. Leaving out and asking again is the plainest attribution by perturbation (Robnik-Sikonja and Kononenko,
    2008; Zeiler and Fergus, 2014).
    """
    belongs = np.array([feature.column for feature in schema.features()])
    tried = np.argsort(-terms, axis=1, kind="stable")[:, :CANDIDATES]
    fall, given = np.zeros(terms.shape), expected.copy()
    step = max(1, CELLS // (tried.shape[1] * x.shape[1]))
    for start in range(0, len(x), step):
        picked = tried[start : start + step]
        hidden = np.repeat(x[start : start + step], picked.shape[1], axis=0)
        own = belongs == picked.reshape(-1, 1)
        hidden[own] = np.inf
        without, anew = program.run(hidden, ("score", "expected"))
        change = score[start : start + step, None] - without.reshape(picked.shape)
        np.put_along_axis(fall[start : start + step], picked, change, axis=1)
        record, feature = np.nonzero(own)
        given[start + record // picked.shape[1], feature] = anew[record, feature]
    return fall, given
