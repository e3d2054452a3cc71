"""NVIDIA's client for Triton, unmodified and in its default, binary mode, against a real server."""

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.http.aio import InferenceServerClient as AsyncClient
from tritonclient.utils import InferenceServerException

from kilter.service.detector import Reason, Verdicts
from tests.support.protocol_server import MAX_RECORDS, METER, meter, running
from tests.support.serving import RECORD, STRANGE, detector

MATRIX = np.array([[0.5, 1.5, 2.0, np.nan, 1.0], [40.0, 1.0, 90.0, 3.0, 0.0]])


@pytest.fixture(name="address", scope="module")
def _address() -> Iterator[str]:
    with running() as address:
        yield address


@pytest.fixture(name="triton", scope="module")
def _triton(address: str) -> Iterator[Any]:
    with InferenceServerClient(address) as triton:
        yield triton


def tensor(name: str, values: npt.NDArray[Any], datatype: str, *, binary: bool = True) -> Any:
    made = InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def columns(*, binary: bool = True) -> list[Any]:
    """Two records for the model `shop`, as a tensor per column."""
    kinds = {"amount": ("FP64", np.float64), "items": ("INT32", np.int32), "member": ("BOOL", np.bool_)}
    made = []
    for name in RECORD:
        datatype, dtype = kinds.get(name, ("BYTES", np.object_))
        values: npt.NDArray[Any] = np.array([RECORD[name], STRANGE[name]], dtype)
        made.append(tensor(name, values, datatype, binary=binary))
    return made


def same(answer: Any, want: Verdicts) -> None:
    """The answer has the verdicts that the detector gives."""
    np.testing.assert_array_equal(answer.as_numpy("score"), want.score)
    np.testing.assert_array_equal(answer.as_numpy("p_value"), want.p_value)
    np.testing.assert_array_equal(answer.as_numpy("anomaly"), want.anomaly)


def test_health_and_metadata(triton: Any) -> None:
    """It is live and ready, and so are its models, with and without a version; nothing else is."""
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.get_server_metadata()["name"] == "kilter"
    assert triton.is_model_ready("shop")
    assert triton.is_model_ready("shop", "3")
    assert not triton.is_model_ready("shop", "4")
    assert not triton.is_model_ready("nope")
    about = triton.get_model_metadata("meter")
    assert about["versions"] == ["3"]
    assert about["inputs"][0] == {"name": "records", "datatype": "FP32", "shape": [-1, 5]}
    assert [given["name"] for given in about["inputs"][1:]] == list(METER.names)
    assert triton.get_model_metadata("shop")["inputs"][0]["name"] == "amount"


@pytest.mark.parametrize(("datatype", "dtype"), [("FP32", np.float32), ("FP64", np.float64)])
@pytest.mark.parametrize("name", ["records", "input-0"])
def test_a_matrix_is_judged(triton: Any, datatype: str, dtype: type, name: str) -> None:
    """The matrix goes by the name of the metadata or any other, and NaN is a missing value."""
    values: npt.NDArray[Any] = MATRIX.astype(dtype)
    answer = triton.infer("meter", [tensor(name, values, datatype)], request_id="a-1")
    same(answer, meter().score(values))
    said = answer.get_response()
    assert (said["id"], said["model_name"], said["model_version"]) == ("a-1", "meter", "3")


@pytest.mark.parametrize("binary", [True, False])
def test_columns_are_judged(triton: Any, binary: bool) -> None:
    """A tensor per column, texts as BYTES, in binary data and in JSON."""
    want = detector().score([RECORD, STRANGE])
    same(triton.infer("shop", columns(binary=binary), model_version="3"), want)
    assert want.anomaly.tolist() == [False, True]


def test_none_and_empty_texts_are_missing(triton: Any) -> None:
    """The client writes None as the text None, which stands for a missing value as it does in a file."""
    made = [given for given in columns() if given.name() != "colour"]
    answer = triton.infer("shop", [*made, tensor("colour", np.array([None, ""], np.object_), "BYTES")])
    same(answer, detector().score([RECORD | {"colour": None}, STRANGE | {"colour": None}]))


@pytest.mark.parametrize("binary", [True, False])
def test_outputs_are_given_as_they_are_asked_for(triton: Any, binary: bool) -> None:
    """Only those that are named, and each as bytes or in JSON."""
    asked = [InferRequestedOutput(name, binary_data=binary) for name in ("feature_contribution", "p_value")]
    answer = triton.infer("shop", columns(), outputs=asked)
    want = detector().score([RECORD, STRANGE], reasons=5)
    shares = answer.as_numpy("feature_contribution")
    assert shares.shape == (2, 5)
    assert shares.dtype == np.float32
    for row, reasons in zip(shares, want.reasons or [], strict=True):
        expected = {reason.feature: reason.share for reason in reasons if isinstance(reason, Reason)}
        np.testing.assert_allclose(row, [expected.get(name, 0.0) for name in RECORD], rtol=1e-6)
    assert answer.as_numpy("score") is None


def test_many_records_are_judged(triton: Any) -> None:
    """A request that is worked on in pieces has the verdicts of one that is not."""
    values = np.random.default_rng(0).normal(size=(MAX_RECORDS, 5)).astype(np.float32)
    values[:, 4] = values[:, 4] > 0
    same(triton.infer("meter", [tensor("records", values, "FP32")]), meter().score(values))


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_requests_are_answered_compressed(triton: Any, coding: str) -> None:
    """In both codings that the client knows."""
    values = np.tile(MATRIX.astype(np.float32), (1000, 1))
    answer = triton.infer(
        "meter",
        [tensor("records", values, "FP32")],
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    same(answer, meter().score(values))


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ([tensor("records", np.zeros((2, 4), np.float32), "FP32")], "[n, 5]"),
        ([tensor("records", np.zeros((0, 5), np.float32), "FP32")], "no records"),
        ([tensor("records", np.full((1, 5), np.inf, np.float32), "FP32")], "infinite"),
        ([tensor("x0", np.zeros(2, np.float32), "FP32")], "field 'x1': the input is missing"),
        ([tensor("records", np.array([["a"] * 5], np.object_), "BYTES")], "BYTES"),
    ],
)
def test_wrong_inputs_are_told(triton: Any, inputs: list[Any], told: str) -> None:
    """The client raises its own exception, with a status of 400 and what is wrong."""
    with pytest.raises(InferenceServerException) as caught:
        triton.infer("meter", inputs)
    assert caught.value.status() == "400"
    assert told in caught.value.message()


def test_unknown_models_and_too_many_records_are_told(triton: Any) -> None:
    """A model or version that is not there is a 404, too many records are a 413."""
    values = np.zeros((MAX_RECORDS + 1, 5), np.float32)
    cases: list[tuple[dict[str, Any], npt.NDArray[Any], str]] = [
        ({"model_name": "nope"}, values[:1], "404"),
        ({"model_name": "meter", "model_version": "9"}, values[:1], "404"),
        ({"model_name": "meter"}, values, "413"),
    ]
    for model, given, status in cases:
        with pytest.raises(InferenceServerException) as caught:
            triton.infer(inputs=[tensor("records", given, "FP32")], **model)
        assert caught.value.status() == status
    with pytest.raises(InferenceServerException, match="no model 'nope'"):
        triton.get_model_metadata("nope")


def test_the_asynchronous_client_is_answered(address: str) -> None:
    """It asks for compression by itself, and undoes none but that of verdicts."""

    async def ask() -> None:
        async with AsyncClient(address) as triton:
            assert await triton.is_server_ready()
            assert (await triton.get_model_metadata("meter"))["name"] == "meter"
            values: npt.NDArray[Any] = MATRIX.astype(np.float32).repeat(500, axis=0)
            same(await triton.infer("meter", [tensor("records", values, "FP32")]), meter().score(values))
            with pytest.raises(InferenceServerException, match="no model"):
                await triton.infer("nope", [tensor("records", values, "FP32")])

    asyncio.run(ask())
