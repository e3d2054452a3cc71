"""Very many requests that no well-meant client sends."""

import logging
from pathlib import Path

import pytest

from tests.support.fuzz_run import Target

CASES = 24_000
WARM = 4000
GROWTH_MEGABYTES = 24
log = logging.getLogger(__name__)


def megabytes() -> float:
    """The resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_nothing_brings_the_service_down_or_makes_it_grow(caplog: pytest.LogCaptureFixture) -> None:
    """No 5xx, no hang, and after a while no more memory."""
    caplog.set_level(logging.CRITICAL, "service")  # what is logged would be kept
    target = Target()
    target.fuzz("long", 0, WARM)
    before = megabytes()
    target.fuzz("long", WARM, CASES)
    grown = megabytes() - before
    log.info("answers by status %s; %.1f MB more than after %d cases", dict(target.statuses), grown, WARM)
    assert sum(target.statuses.values()) == CASES
    assert grown < GROWTH_MEGABYTES
