"""Saves a fit as it goes, so that one that was interrupted is taken up where it was."""

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from kilter.service.detector.arrays import Matrix
from kilter.service.detector.errors import KilterError
from kilter.service.detector.findings import Epoch
from kilter.training.config import FitConfig

if TYPE_CHECKING:
    from kilter.training.fitting.fit import FitState

_HEAD = ("step", "best_step", "since")


def fingerprint(x: Matrix, shape: msgspec.Struct, config: FitConfig, seed: int, device: str) -> str:
    """A digest of all that decides a fit: only a fit with the same one is taken up again."""
    digest = hashlib.sha256(np.ascontiguousarray(x).tobytes())
    digest.update(msgspec.json.encode([shape, config, seed, device, str(torch.__version__)]))
    return digest.hexdigest()


class Checkpoint:
    """The file of a fit's state: tensors, and a JSON header in safetensors' metadata. No pickle."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        self._path = path
        self._fingerprint = fingerprint

    def save(self, state: "FitState") -> None:
        """Write the state, whole or not at all. Raises KilterError if it cannot be written."""
        tensors = {"generator": state.generator.get_state()}
        tensors |= {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
        for number, values in state.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": tensor for name, tensor in values.items()}
        head = {name: getattr(state, name) for name in _HEAD}
        head["history"] = msgspec.to_builtins(state.history)
        head["fingerprint"] = self._fingerprint
        partial = self._path.with_suffix(f".{os.getpid()}")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        content = save({name: t.contiguous().clone() for name, t in tensors.items()}, {"head": json.dumps(head)})
        try:
            partial.write_bytes(content)
            partial.replace(self._path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise KilterError(f"cannot write the checkpoint {self._path}: {error.strerror or error}") from error

    def restore(self, state: "FitState") -> bool:
        """Take up the saved state if there is one of this very fit; say whether."""
        try:
            with safe_open(self._path, framework="pt") as file:
                head = json.loads(file.metadata()["head"])
                if head["fingerprint"] != self._fingerprint:
                    return False
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return False
        part = {prefix: _under(tensors, prefix) for prefix in ("network", "best", "optimiser")}
        state.network.load_state_dict(part["network"])
        state.best = part["best"]
        state.generator.set_state(tensors["generator"])
        saved = state.optimiser.state_dict()
        saved["state"] = {}
        for name, tensor in part["optimiser"].items():
            number, field = name.split(".", 1)
            saved["state"].setdefault(int(number), {})[field] = tensor
        state.optimiser.load_state_dict(saved)
        for name in _HEAD:
            setattr(state, name, head[name])
        state.history = msgspec.convert(head["history"], list[Epoch])
        return True

    def delete(self) -> None:
        """Forget the state: the fit is done."""
        self._path.unlink(missing_ok=True)


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
