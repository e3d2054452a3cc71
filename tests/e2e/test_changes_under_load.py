"""The same over sockets, for longer and with more clients."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.support.administration import ADMINISTRATOR, Service
from tests.support.churn import Churn
from tests.support.listening import listening
from tests.support.versions import add

pytestmark = pytest.mark.e2e


async def churned(churn: Churn, address: str) -> None:
    async with httpx.AsyncClient(base_url=address, headers=ADMINISTRATOR, timeout=60) as client:
        churn.client = client
        await churn.run(changes=400, clients=16)


def test_hundreds_of_changes_over_sockets_are_seen_by_nobody(tmp_path: Path) -> None:
    """Every verdict is of the version and the threshold that it names, and no answer is a fault of the service."""
    for _ in range(2):
        add(tmp_path)
    service = Service(tmp_path)
    with listening(service.app) as address:
        churn = Churn(httpx.AsyncClient(), tmp_path, seed=1)
        asyncio.run(churned(churn, address))
    assert len(churn.check()) > 20
    assert len(churn.sent) > 1000
