"""Kilter as it is, around a model that sleeps: what a heavy model under a flood is like.

KILTER_MODELS=... KILTER_PORT=... python -m benchmarks.servers.slowed MILLISECONDS batch|record
"""

import logging.config
import sys
import time
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmarks.servers import NAME
from kilter.service.commands.serve import SWITCH_SECONDS, listen
from kilter.service.detector import load
from kilter.service.detector.arrays import Matrix
from kilter.service.detector.runtime import Program
from kilter.service.models.registry import Registry
from kilter.service.monitoring.logs import DELAY, Ledger, logging_config
from kilter.service.monitoring.metrics import Metrics
from kilter.service.protection.auth import guard_of
from kilter.service.server import Server, configure
from kilter.service.settings import read_settings
from kilter.service.web.app import create_app


class Slowed:
    """A program that takes longer, by so much for each call or each record of it."""

    def __init__(self, program: Program, seconds: float, per: Literal["batch", "record"]) -> None:
        self.device = program.device
        self._program = program
        self._seconds = seconds
        self._per = per

    def run(self, x: Matrix, outputs: Sequence[str]) -> list[npt.NDArray[np.float64]]:
        time.sleep(self._seconds * (len(x) if self._per == "record" else 1))
        return self._program.run(x, outputs)


def main(milliseconds: float, per: Literal["batch", "record"]) -> None:
    """Serve until stopped."""
    settings = read_settings()
    logging.config.dictConfig(logging_config(settings.log_level))
    detector = load(settings.models / NAME)
    detector.scorer.program = Slowed(detector.scorer.program, milliseconds / 1000, per)
    metrics = Metrics()
    registry = Registry(metrics, [detector])
    app = create_app(settings, registry, metrics, guard=guard_of(settings.tokens_file), ledger=Ledger(metrics, DELAY))
    sys.setswitchinterval(SWITCH_SECONDS)
    Server(configure(app, settings), registry, 0.0).run(sockets=[listen(settings.host, settings.port)])


if __name__ == "__main__":
    main(float(sys.argv[1]), "record" if sys.argv[2] == "record" else "batch")
