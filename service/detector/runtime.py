"""Runs a network as it was exported: ONNX Runtime on a CPU, the torch network rebuilt from its tensors on a GPU.

What was exported are several programs, since ONNX Runtime runs the whole of one whatever output is wanted: `score`,
which every artifact has, and others, which it need not have. All but `decode` take the encoded matrix, float32
(n, features), NaN where a value is missing and infinite where it is not to be looked at. They give named outputs:

- `score`, (n,): higher is stranger, in the unit that the manifest states.
- `reconstruction` and `kl`, (n,): the two terms of the negative ELBO, in nats.
- `terms`, (n, columns or places): what speaks against each column of a table or place of a picture, above what is
  usual for it; of a table in nats.
- `expected`, (n, features): what the network expects of each feature given the record: a standardised number, the
  probability of a flag, the code of the likeliest level.
- `code`, (n, code): the place of a record in the latent space, see `Network.code`.
- `decoded`, (n, features): what the network expects of a record with a code; `drawn` is a draw from its likelihood.
  These take codes with noise beside them, (n, code + noise); see `Network.decoded`.
- `point`, (n, axes): where the score compares a record with those that it remembers; see `AnomalyScore.point`.
"""

import re
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort

from kilter.service.detector.arrays import Array, Floats, Matrix
from kilter.service.detector.errors import ArtifactError, KilterError
from kilter.service.detector.manifest import NetworkEntry, ScoreEntry

OUTPUTS = ("score", "reconstruction", "kl", "terms", "expected")
"""The outputs about a record's score."""
PROGRAMS = {
    "score": OUTPUTS[:1],
    "detail": OUTPUTS[1:],
    "encode": ("code",),
    "decode": ("decoded", "drawn"),
    "place": ("point",),
}
"""The outputs of each program. Another program is an entry here, and a file that an artifact's manifest names."""
INPUTS = {"decode": "codes"}
"""The input of a program that does not take encoded records, x: codes, each with its noise."""
LACKING = {"detail": "it gives scores, and can neither explain them nor tell the terms of the ELBO"}
RETRAIN = "train the model again, by this version of Kilter, to have one that does"
DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))
"""Files of a GPU's driver: where there is none, torch, which takes seconds to import, is not imported."""


class Program(Protocol):
    """A network that can be run."""

    device: str

    def run(self, x: Matrix, outputs: Sequence[str]) -> list[Floats]:
        """The named outputs for float32 (n, features), as float64."""


class OnnxProgram:
    """The exported programs under ONNX Runtime, on one thread of the CPU."""

    device = "cpu"

    def __init__(self, programs: Mapping[str, bytes], features: int, rows: int) -> None:
        """Open programs by name, over so many features, to be run on so many rows at a time.

        All are opened now, at some 8 ms each, so that a damaged one is refused before its outputs are wanted. Raises
        ArtifactError for one that cannot be opened, or gives something else.
        """
        self._rows = rows
        self._sessions = {
            name: _session(programs[name], INPUTS.get(name, "x"), None if name in INPUTS else features, outputs)
            for name, outputs in PROGRAMS.items()
            if name in programs
        }
        self._one = OneRow(self._sessions["score"], features)

    def run(self, x: Matrix, outputs: Sequence[str]) -> list[Floats]:
        if len(x) == 0:  # a reshape in the program cannot tell the sizes of nothing
            return [out[:0] for out in self._chunk(np.zeros((1, x.shape[1]), np.float32), outputs)]
        if len(x) == 1 and len(outputs) == 1 and outputs[0] == "score":
            score = self._one.score(x)
            if score is not None:
                return [score.astype(np.float64)]
        if len(x) <= self._rows:
            return self._chunk(x, outputs)
        chunks = [self._chunk(x[i : i + self._rows], outputs) for i in range(0, len(x), self._rows)]
        return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]

    def _chunk(self, x: Matrix, outputs: Sequence[str]) -> list[Floats]:
        values: dict[str, Floats] = {}
        for program, names in PROGRAMS.items():
            wanted = [name for name in names if name in outputs]
            if wanted and program not in self._sessions:
                raise KilterError(
                    f"the model holds no program {program!r}, which gives {', '.join(names)}: "
                    f"{LACKING.get(program, RETRAIN)}"
                )
            if wanted:
                results = self._sessions[program].run(wanted, {INPUTS.get(program, "x"): x})
                values |= {name: out.astype(np.float64) for name, out in zip(wanted, results, strict=True)}
        return [values[name] for name in outputs]


class OneRow:
    """Memory for one row and its score that a session is bound to: to make it takes a seventh of a row's time."""

    def __init__(self, session: ort.InferenceSession, features: int) -> None:
        self._x = np.zeros((1, features), np.float32)
        self._score = np.zeros(1, np.float32)
        binding = session.io_binding()
        for bind, name, memory in ((binding.bind_input, "x", self._x), (binding.bind_output, "score", self._score)):
            bind(name, "cpu", 0, np.float32, memory.shape, memory.ctypes.data)
        self._run = partial(session.run_with_iobinding, binding)
        self._taken = threading.Lock()

    def score(self, x: Matrix) -> Matrix | None:
        """The score of a row, (1, features); None while another thread uses the memory."""
        if not self._taken.acquire(blocking=False):
            return None
        try:
            self._x[:] = x
            self._run()
            return self._score.copy()
        finally:
            self._taken.release()


def quiet_session(program: bytes) -> ort.InferenceSession:
    """A program, opened to run on one thread of the CPU. Raises ArtifactError if it cannot be."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(program, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions have no common base that it exports
        raise ArtifactError(f"the program cannot be loaded: {error}") from error


def _session(program: bytes, name: str, width: int | None, outputs: Sequence[str]) -> ort.InferenceSession:
    """A program whose input has a name and, unless that is None, a width."""
    session = quiet_session(program)
    takes, gives = session.get_inputs()[0], [out.name for out in session.get_outputs()]
    if takes.name != name or (width is not None and takes.shape[1:] != [width]) or gives != list(outputs):
        wanted = name if width is None else f"{name} (n, {width})"
        raise ArtifactError(
            f"the program takes {takes.name} {takes.shape} and gives {', '.join(gives)}, not {wanted} and "
            f"{', '.join(outputs)}"
        )
    return session


class TorchProgram:
    """The torch network itself, rebuilt from its shape and tensors; needs the extra `gpu`."""

    def __init__(
        self, network: NetworkEntry, score: ScoreEntry, tensors: Mapping[str, Array], device: str, rows: int
    ) -> None:
        """A network and its score, run on so many rows at a time. Raises ArtifactError if the entries do not fit."""
        import torch

        from kilter.service.detector.scores.base import rebuild

        self._rows, self.device, self._torch = rows, device, torch
        self._network = rebuild(network, score)
        self._has_codes = network.code > 0
        self._network.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
        self._network.to(device).eval()

    def run(self, x: Matrix, outputs: Sequence[str]) -> list[Floats]:
        parts = []
        with self._torch.inference_mode():
            for i in range(0, max(len(x), 1), self._rows):
                rows = self._torch.from_numpy(x[i : i + self._rows]).to(self.device)
                result = self._results(rows, outputs)
                parts.append([result[name].double().cpu().numpy() for name in outputs])
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _results(self, rows: Any, outputs: Sequence[str]) -> Mapping[str, Any]:
        """The outputs of the program to which those belong."""
        program = next(name for name, those in PROGRAMS.items() if outputs[0] in those)
        if program == "place":
            return {"point": self._network.point(rows)}
        if program not in ("encode", "decode"):
            return dict(zip(OUTPUTS, self._network(rows), strict=True))
        if not self._has_codes:
            raise KilterError(f"the model holds no program {program!r}: {RETRAIN}")
        network = self._network.network
        results = (network.code(rows),) if program == "encode" else network.decoded_rows(rows)
        return dict(zip(PROGRAMS[program], results, strict=True))


def pick_device(device: str) -> str:
    """Resolve `auto`, `cpu`, `cuda` or `cuda:n` to what is there. Raises KilterError if it is not."""
    if device == "cpu" or (device == "auto" and not any(map(Path.exists, DRIVERS))):
        return "cpu"
    if device not in ("auto", "cuda") and not re.fullmatch(r"cuda:\d+", device):
        raise KilterError(f"the device is auto, cpu, cuda or cuda:n, not {device!r}")
    try:
        import torch
    except ImportError:
        torch = None  # type: ignore[assignment]
    if torch is not None and torch.cuda.is_available():
        return "cuda" if device == "auto" else device
    if device == "auto":
        return "cpu"
    raise KilterError(f"there is no {device!r} here: install the extra 'gpu' on a machine with a GPU, or use cpu")
