"""What KServe's client shows of a server, as JSON; it runs in an environment of its own, and imports no Kilter."""

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def tensor(name: str, values: Any, datatype: str, *, binary: bool = True) -> Any:
    """An input with the values of an array."""
    made = InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def shown(answer: Any) -> dict[str, Any]:
    """The outputs of an answer, and what it says of itself."""
    outputs = {output.name: output.as_numpy().tolist() for output in answer.outputs}
    return {"id": answer.id, "model": answer.model_name, "outputs": outputs}


async def main(url: str, given: dict[str, Any]) -> dict[str, Any]:
    """Ask everything."""
    matrix = np.array([[np.nan if value is None else value for value in row] for row in given["matrix"]], np.float32)
    kinds = {"amount": ("FP64", np.float64), "items": ("INT32", np.int32), "member": ("BOOL", np.bool_)}
    found: dict[str, Any] = {}

    def columns(*, binary: bool) -> list[Any]:
        made = []
        for name in given["records"][0]:
            datatype, dtype = kinds.get(name, ("BYTES", np.object_))
            values: Any = np.array([record[name] for record in given["records"]], dtype)
            made.append(tensor(name, values, datatype, binary=binary))
        return made

    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        found["live"] = await client.is_server_live(url)
        found["ready"] = await client.is_server_ready(url)
        found["models"] = {name: await client.is_model_ready(url, name) for name in ("meter", "shop", "nope")}

        async def infer(model: str, inputs: list[Any], **options: Any) -> dict[str, Any]:
            try:
                return shown(await client.infer(url, InferRequest(model, inputs, **options), model_name=model))
            except httpx.HTTPStatusError as error:
                return {"status": error.response.status_code, "told": str(error)}

        found["matrix"] = await infer("meter", [tensor("records", matrix, "FP32")], request_id="k-1")
        found["binary answer"] = await infer(
            "meter", [tensor("records", matrix, "FP32")], parameters={"binary_data_output": True}
        )
        found["columns"] = await infer("shop", columns(binary=True))
        found["columns in JSON"] = await infer("shop", columns(binary=False))
        asked = [RequestedOutput("feature_contribution", {"binary_data": True}), RequestedOutput("anomaly")]
        found["asked"] = await infer("shop", columns(binary=True), request_outputs=asked)
        found["wrong shape"] = await infer("meter", [tensor("records", matrix[:, :4].copy(), "FP32")])
        found["unknown"] = await infer("nope", [tensor("records", matrix, "FP32")])
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(sys.argv[1], json.load(sys.stdin)))) + "\n")
