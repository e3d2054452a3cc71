"""How many normal rows are flagged if a promise holds."""

import numpy as np
from scipy import stats

from kilter.service.detector.calibration import Calibration
from kilter.service.detector.groups import Groups
from kilter.service.detector.inputs import Table

CONFIDENCE = 0.95
DRAWS = 20_000


def expected_flags(table: Table, common: Calibration, groups: Groups | None) -> tuple[int, int]:
    """The 95 % interval of flagged rows among the normal rows of a table.

    Of m rows that are judged by one calibration, BetaBinomial(m, k, n + 1 - k) are flagged. Over groups those numbers
    are added, and the interval is that of draws.
    """
    if not table.rows:
        return (0, 0)
    if groups is None:
        low, high = stats.betabinom.interval(CONFIDENCE, table.rows, common.rank, common.size + 1 - common.rank)
        return int(low), int(high)
    rng = np.random.default_rng(0)
    total = np.zeros(DRAWS, np.int64)
    shared = 0
    for rows, own in groups.members(table):
        if own is None:
            shared += len(rows)
        else:
            total += rng.binomial(len(rows), rng.beta(own.rank, own.size + 1 - own.rank, DRAWS))
    total += rng.binomial(shared, rng.beta(common.rank, common.size + 1 - common.rank, DRAWS))
    low, high = np.quantile(total, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return int(np.floor(low)), int(np.ceil(high))
