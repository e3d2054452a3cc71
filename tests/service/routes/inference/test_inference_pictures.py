"""The Open Inference Protocol for a model of pictures: one tensor of them."""

from typing import Any

import numpy as np
import pytest

from kilter.service.detector.pictures.column import ImageColumn
from tests.support.picture_model import dark, picture_detector, spotted
from tests.support.pictures import COLOUR
from tests.support.protocol_client import binary, outputs, tensor
from tests.support.serving import client

INFER = "/v2/models/tiles/infer"
PICTURES = np.stack([spotted(16, 16), dark()])


def test_metadata_name_one_tensor_of_pictures() -> None:
    """UINT8 where black is 0 and white 255, FP32 for any other scale; and no share of fields."""
    floats = ImageColumn("image", 8, 12, 3, 0.0, 1.0)
    with client(picture_detector(), picture_detector("floats", floats)) as http:
        about, other = (http.get(f"/v2/models/{name}").json() for name in ("tiles", "floats"))
    assert about["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 16, 16, 1]}]
    assert other["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 8, 12, 3]}]
    assert [output["name"] for output in about["outputs"]] == ["score", "p_value", "anomaly"]


@pytest.mark.parametrize("shape", [(2, 16, 16, 1), (2, 16, 16), (2, 256)])
def test_pictures_have_the_verdicts_that_they_have_elsewhere(shape: tuple[int, ...]) -> None:
    """As JSON, flat or nested, and as bytes, in any datatype of numbers."""
    wanted = picture_detector().score(PICTURES)
    shaped = PICTURES.reshape(shape)
    flat = tensor("image", "UINT8", PICTURES.ravel().tolist(), [*shape])
    nested = tensor("image", "FP32", shaped.tolist(), [*shape])
    content, headers = binary([flat])
    with client(picture_detector()) as http:
        answers = [
            http.post(INFER, json={"inputs": [flat]}),
            http.post(INFER, json={"inputs": [nested]}),
            http.post(INFER, content=content, headers=headers),
        ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        found = outputs(answer.content)
        np.testing.assert_array_equal(found["score"], wanted.score)
        np.testing.assert_array_equal(found["anomaly"], [True, False])


def test_pictures_of_another_size_are_brought_to_the_models() -> None:
    """As files are."""
    picture = spotted(40, 50, 3)
    with client(picture_detector(column=COLOUR)) as http:
        answer = http.post(INFER, json={"inputs": [tensor("image", "UINT8", picture.ravel().tolist(), [1, 40, 50, 3])]})
    np.testing.assert_array_equal(
        outputs(answer.content)["score"], picture_detector(column=COLOUR).score(picture).score
    )


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ([tensor("image", "BYTES", ["a"], [1])], "one tensor, UINT8 of shape [n, height, width, channels]"),
        ([tensor("image", "BOOL", [True] * 64, [1, 8, 8])], "one tensor, UINT8"),
        ([tensor("a", "UINT8", [0] * 64, [1, 8, 8]), tensor("b", "UINT8", [0] * 64, [1, 8, 8])], "send no other"),
        ([tensor("image", "UINT8", [0] * 64, [1, 2, 2, 16])], "array of shape"),
        ([tensor("image", "UINT8", [0] * 5, [5])], "array of shape"),
        ([tensor("image", "FP32", [None] * 64, [1, 8, 8])], "finite numbers"),
        ([tensor("image", "UINT8", [[[0] * 8] * 7], [1, 8, 8])], "nested otherwise"),
        ([tensor("image", "UINT8", [0] * 64, [1, 1, 8, 8, 1])], "Expected `array` of length <= 4"),
        ([tensor("image", "UINT8", [], [0, 8, 8])], "there are no records"),
    ],
)
def test_what_is_no_tensor_of_pictures_is_refused(inputs: list[dict[str, Any]], told: str) -> None:
    """As a 400 that says what is taken."""
    with client(picture_detector()) as http:
        answer = http.post(INFER, json={"inputs": inputs})
        assert answer.status_code == 400, answer.text
        assert told in answer.json()["error"]


def test_there_is_no_contribution_of_fields() -> None:
    """A picture is one field."""
    asked = {"inputs": [tensor("image", "UINT8", [0] * 64, [1, 8, 8])], "outputs": [{"name": "feature_contribution"}]}
    with client(picture_detector()) as http:
        answer = http.post(INFER, json=asked)
    assert answer.status_code == 400
    assert "the outputs are score, p_value, anomaly" in answer.json()["error"]


def test_no_more_pictures_are_taken_than_there_is_room_for() -> None:
    """By the number of records."""
    with client(picture_detector(), max_records=2) as http:
        answer = http.post(INFER, json={"inputs": [tensor("image", "UINT8", [0] * 192, [3, 8, 8])]})
    assert answer.status_code == 413


def test_the_documents_example_is_answered() -> None:
    """As it stands."""
    with client(picture_detector()) as http:
        post = http.get("/openapi.json").json()["paths"]["/v2/models/{name}/infer"]["post"]
        [example] = post["requestBody"]["content"]["application/json"]["examples"].values()
        assert http.post(INFER, json=example["value"]).status_code == 200
