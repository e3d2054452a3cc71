"""What a tutorial would write: FastAPI with a `def` route, pydantic models, and the network in eager torch.

python -m benchmarks.servers.textbook FOLDER PORT
"""

import sys
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, create_model

from benchmarks.servers.verdict import Judge
from kilter.service.detector import artifact
from kilter.service.detector.scores.base import rebuild
from kilter.service.detector.store import resolve


class Result(BaseModel):
    """A verdict."""

    score: float
    p_value: float
    anomaly: bool


class Answer(BaseModel):
    """The verdicts on a request's records."""

    results: list[Result]


def application(folder: Path, model: Path) -> FastAPI:
    """The service of one model, its numbers from `folder` and its network from the artifact."""
    found = artifact.read_artifact(resolve(model))
    network = rebuild(found.manifest.network, found.manifest.score)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in found.state.items()})
    network.eval()
    network.network.expected = lambda x, likelihood: x  # type: ignore[method-assign]  # the score needs none of it

    def score(x: object) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(x))[0].numpy()

    judge = Judge(folder, score)
    fields = dict.fromkeys(judge.names, (float | None, ...))
    record = create_model("Record", **fields)  # type: ignore[call-overload]
    request = create_model("Request", records=(list[record], ...))
    app = FastAPI()

    @app.get("/ready")
    def ready() -> bool:
        return True

    @app.post("/score", response_model=Answer)
    def answer(body: request) -> Answer:
        records = [one.model_dump() for one in body.records]  # type: ignore[attr-defined]
        return Answer(results=[Result(**result) for result in judge.results(records)])

    return app


if __name__ == "__main__":
    torch.set_num_threads(1)
    served = application(Path(sys.argv[1]), Path(sys.argv[3]))
    uvicorn.run(served, port=int(sys.argv[2]), access_log=False, log_level="warning")
