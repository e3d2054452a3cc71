"""Where the rows that a score remembers stand in what the model was trained on."""

import numpy as np

from kilter.service.detector.arrays import Array
from kilter.service.detector.scores.base import AnomalyScore
from kilter.service.detector.similar import origin_tensors
from kilter.training.data.source import TrainingData
from kilter.training.fitting.split import Split


def remembered_origins(data: TrainingData, split: Split, score: AnomalyScore) -> dict[str, Array]:
    """The tensors of an artifact that say so; none of a score that remembers no whole records."""
    if score.members is None:
        return {}
    rows = np.concatenate([split.fit, split.calibration])[score.members.numpy()]
    numbers = rows if data.numbers is None else data.numbers[rows]
    file = data.files[rows] if data.files is not None and len(data.source.paths) > 1 else None
    return origin_tensors(numbers, file, [data.names[row] for row in rows] if data.names else None)
