"""LitServe with one worker and its defaults, and the verdict by hand.

python -m benchmarks.servers.lit FOLDER PORT
"""

import sys
from pathlib import Path
from typing import Any

import litserve

from benchmarks.servers.verdict import Judge


class Api(litserve.LitAPI):  # type: ignore[misc]
    """Records in, verdicts out, at POST /predict."""

    def setup(self, device: str) -> None:
        self.judge = Judge(Path(sys.argv[1]))

    def decode_request(self, request: dict[str, Any]) -> list[dict[str, float | None]]:
        return request["records"]  # type: ignore[no-any-return]

    def predict(self, x: list[dict[str, float | None]]) -> list[dict[str, Any]]:
        return self.judge.results(x)

    def encode_response(self, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {"results": output}


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", devices=1, workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[2]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
