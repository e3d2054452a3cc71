"""How many pictures per second each device fits and scores: part of `python -m benchmarks.images --devices`."""

import time
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks.device import rate
from benchmarks.markdown import number, table
from kilter.service.detector import KilterError
from kilter.service.detector.findings import Epoch
from kilter.service.detector.inputs import Table
from kilter.service.detector.manifest import NetworkEntry, ScoreEntry
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.runtime import OnnxProgram, Program, TorchProgram, pick_device
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.fitting.fit import fit
from kilter.training.fitting.model import score_around
from kilter.training.fitting.programs import export

SIDES = (64, 256)
BATCHES = (64, 512)
"""Pictures of a step: the default, and what keeps a GPU busy."""
PICTURES = 640
WARM, STEPS = 5, 25
"""Steps before the clock runs, and steps that it measures."""


class Found(NamedTuple):
    """Pictures per second on a device."""

    device: str
    side: int
    fitted: dict[int, float]
    """By the pictures of a step."""
    scored: float
    """From encoded pictures to scores, in the serving runtime of the device."""


def compared(devices: list[str]) -> str:
    """Pictures per second on each device, as a table; a device that is not there is named."""
    found, missing = [], []
    for side in SIDES:
        column = ImageColumn("image", side, side, 1)
        pixels = np.random.default_rng(0).integers(0, 256, (PICTURES, *column.shape), np.uint8)
        schema = Schema((column,), PICTURES)
        x = np.concatenate([*modality_of(schema).encode(Table({column.name: pixels}, PICTURES, []))])
        for device in devices:
            try:
                found.append(measure(x, schema, pick_device(device)))
            except KilterError as error:
                missing.append(f"Not measured: {error}")
    rows = [
        [
            f"{one.side} x {one.side}",
            one.device,
            *(number(one.fitted[batch], 0) for batch in BATCHES),
            number(one.scored, 0),
            *(_times(one, found, batch) for batch in BATCHES),
        ]
        for one in found
    ]
    fitted = [f"fitted/s, {batch} a step" for batch in BATCHES]
    times = [f"times the CPU, {batch} a step" for batch in BATCHES]
    parts = [table(("pictures, grey", "device", *fitted, "scored/s", *times), rows), *dict.fromkeys(missing)]
    return "\n\n".join(["## Devices", *parts])


def measure(x: npt.NDArray[np.float32], schema: Schema, device: str) -> Found:
    """Fit and score encoded pictures on a device, on one thread where that is the CPU."""
    fitted = {batch: _fit_rate(x, schema, batch, device) for batch in BATCHES}
    settings = TrainConfig(fit=FitConfig(steps=WARM))
    network, _ = fit(x, schema, settings.fit, seed=0)
    module, _ = score_around(network, "picture-neighbours", x, x[:0], schema, settings)
    rows, width = modality_of(schema).rows_per_call(device), x.shape[1]
    program: Program
    if device == "cpu":
        program = OnnxProgram(export(module, width), width, rows)
    else:
        tensors = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
        shapes = [msgspec.to_builtins(part.shape) for part in (network, module.score)]
        entries = (
            NetworkEntry("image-vae", 1, network.latent, shapes[0]),
            ScoreEntry("picture-neighbours", "neighbours", "", 4, 1e-4, shapes[1]),
        )
        program = TorchProgram(*entries, tensors, device, rows)
    scored = rate(lambda: program.run(x, ("score",)), len(x))
    return Found(device, round(width**0.5), fitted, scored)


def _fit_rate(x: npt.NDArray[np.float32], schema: Schema, batch: int, device: str) -> float:
    """Pictures per second of a fit, with its evaluations."""
    moments: list[float] = []

    def progress(step: int, steps: int, epoch: Epoch | None) -> None:  # noqa: ARG001
        moments.append(time.perf_counter())

    fit(x, schema, FitConfig(steps=WARM + STEPS, batch_rows=batch), seed=0, device=device, progress=progress)
    return batch * STEPS / (moments[-1] - moments[WARM - 1])


def _times(one: Found, found: list[Found], batch: int) -> str:
    core = next((other for other in found if (other.device, other.side) == ("cpu", one.side)), None)
    return "–" if core is None or one is core else number(one.fitted[batch] / core.fitted[batch], 1)
