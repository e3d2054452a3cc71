"""The verdict by hand, with NumPy and ONNX Runtime alone: what a server without Kilter would run."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

PROGRAM = "program.onnx"
NUMBERS = "numbers.npz"
LIMIT = 1e3
"""Standardised numbers are held within ± this, as in `kilter.service.detector.encode`."""
DECIMALS = 6
"""Decimal places of a score, as in `kilter.service.detector.scorer`."""

Floats = npt.NDArray[np.float64]


class Verdict(NamedTuple):
    """Of n records, each (n,)."""

    score: Floats
    p_value: Floats
    anomaly: npt.NDArray[np.bool_]


class Judge:
    """Judges records by the files that `benchmarks.servers.model` writes: the program, and the numbers around it."""

    def __init__(self, folder: Path, score: Any = None) -> None:
        numbers = np.load(folder / NUMBERS)
        self.names: list[str] = numbers["names"].tolist()
        self._center, self._scale = numbers["center"], numbers["scale"]
        self._calibration, self._target = numbers["calibration"], float(numbers["target_fpr"])
        self._digits = int(numbers["digits"])
        self._score = score or onnx_score((folder / PROGRAM).read_bytes())

    def rows(self, records: list[dict[str, float | None]]) -> Floats:
        """Records as a matrix, (n, fields), NaN for null."""
        return np.array([[record[name] for name in self.names] for record in records], np.float64)

    def verdicts(self, rows: Floats) -> Verdict:
        """Verdicts on rows, (n, fields)."""
        x = np.clip((rows - self._center) / self._scale, -LIMIT, LIMIT).astype(np.float32)
        score = np.round(self._score(x).astype(np.float64), DECIMALS)
        size = len(self._calibration)
        below = np.searchsorted(self._calibration, np.round(score, self._digits), "left")
        p_value = (1 + size - below) / (size + 1)
        return Verdict(score, p_value, p_value <= self._target)

    def results(self, records: list[dict[str, float | None]]) -> list[dict[str, Any]]:
        """Verdicts as Kilter writes them."""
        found = self.verdicts(self.rows(records))
        return [
            {"score": score, "p_value": p_value, "anomaly": anomaly}
            for score, p_value, anomaly in zip(*(part.tolist() for part in found), strict=True)
        ]


def onnx_score(program: bytes) -> Any:
    """What gives the output `score` of a program for float32 rows, on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(program, options, providers=["CPUExecutionProvider"])
    name, only = session.get_inputs()[0].name, ort.RunOptions()
    only.only_execute_path_to_fetches = True
    return lambda x: session.run(["score"], {name: x}, only)[0]
