"""MLServer in its in-process mode (`parallel_workers` 0) with a runtime of the verdict by hand.

python -m benchmarks.servers.mlserver_start FOLDER PORT
"""

import asyncio
import sys
from pathlib import Path

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.servers import NAME
from benchmarks.servers.verdict import Judge


class Runtime(MLModel):  # type: ignore[misc]
    """A matrix in, the three parts of the verdict out."""

    async def load(self) -> bool:
        self.judge = Judge(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        found = self.judge.verdicts(NumpyCodec.decode_input(payload.inputs[0]))
        names = ("score", "p_value", "anomaly")
        parts = [
            NumpyCodec.encode_output(name, np.asarray(part)[:, None]) for name, part in zip(names, found, strict=True)
        ]
        return InferenceResponse(model_name=self.name, outputs=parts)


async def main(folder: str, port: int) -> None:
    """Serve until stopped; the ports after the first are those of gRPC and of the metrics."""
    settings = Settings(
        host="127.0.0.1",
        http_port=port,
        grpc_port=int(sys.argv[3]),
        metrics_port=int(sys.argv[4]),
        parallel_workers=0,
        debug=False,
    )
    model = ModelSettings(name=NAME, implementation=Runtime, parameters=ModelParameters(uri=folder))
    await MLServer(settings).start([model])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
