"""The yardstick: a bare ASGI application on uvicorn, orjson in and out, and the verdict by hand.

python -m benchmarks.servers.bare FOLDER PORT
"""

import sys
from pathlib import Path
from typing import Any

import orjson
import uvicorn

from benchmarks.servers.verdict import Judge


class Bare:
    """Answers every POST with verdicts, and anything else with 200."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        content = b""
        if scope["method"] == "POST":
            body, more = b"", True
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
            content = orjson.dumps({"results": self._judge.results(orjson.loads(body)["records"])})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


if __name__ == "__main__":
    app = Bare(Judge(Path(sys.argv[1])))
    uvicorn.run(app, port=int(sys.argv[2]), lifespan="off", access_log=False, log_level="warning")
