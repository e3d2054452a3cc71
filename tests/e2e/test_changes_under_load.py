"""The same over sockets, for longer and with more clients."""

import asyncio
import socket
import threading
from pathlib import Path

import httpx
import pytest
import uvicorn

from tests.support.administration import ADMINISTRATOR, Service
from tests.support.churn import Churn
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
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(service.app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        churn = Churn(httpx.AsyncClient(), tmp_path, seed=1)
        try:
            asyncio.run(churned(churn, f"http://127.0.0.1:{listener.getsockname()[1]}"))
        finally:
            server.should_exit = True
            thread.join()
    assert len(churn.check()) > 20
    assert len(churn.sent) > 1000
