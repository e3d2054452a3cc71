"""The score route of a model of pictures: every form gets the detector's verdict, and what is hostile a 4xx."""

import asyncio
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from kilter.service.detector.pictures.pixels import limits_in_words, to_pixels
from kilter.service.judging.intake import INLINE_BYTES
from kilter.service.monitoring.metrics import Metrics
from tests.service.detector.pictures.test_pixels import FORMATS
from tests.support.picture_model import dark, picture_detector, spotted
from tests.support.pictures import COLOUR, chunk, encoded, exif, lossless, png_claiming, scene
from tests.support.serving import RECORD, Client, client, detector

SCORE = "/v1/models/tiles/score"
SPOT = spotted()
PNG = encoded(SPOT)
TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "TIFF": "image/tiff", "BMP": "image/bmp"}


@pytest.fixture(name="http", scope="module")
def _http() -> Iterator[Client]:
    with client(picture_detector(), detector(), max_pixels=1_000_000) as http:
        yield http


def base64(content: bytes) -> str:
    return b64encode(content).decode()


def npy(array: npt.NDArray[Any]) -> bytes:
    out = BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def refused(answer: httpx.Response, status: int, told: str) -> None:
    """It is a problem of that status that says so."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert told in answer.text


def test_one_picture_is_the_body(http: Client) -> None:
    """Its answer has the form of every other; its content type only says that it is a picture."""
    judged = picture_detector().score(SPOT)
    for stated in (*TYPES.values(), "application/octet-stream", "image/jpg", "IMAGE/PNG; q=1"):
        answer = http.post(SCORE, content=PNG, headers={"content-type": stated})
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "model": {"name": "tiles", "version": 2},
            "threshold": picture_detector().calibration.threshold,
            "target_fpr": 0.05,
            "results": [{"score": judged.score[0], "p_value": judged.p_value[0], "anomaly": True}],
        }
    versioned = http.post("/v1/models/tiles/versions/2/score", content=PNG, headers={"content-type": "image/png"})
    assert versioned.json() == answer.json()


def test_every_form_has_the_same_verdict(http: Client) -> None:
    """A file of any format without loss, base64 in each form of JSON, parts of a form, an array; alone and together."""
    files = lossless(SPOT)
    wanted = http.post(SCORE, content=PNG, headers={"content-type": "image/png"}).json()["results"][0]
    for content in files.values():
        assert http.post(SCORE, content=content, headers={"content-type": "image/tiff"}).json()["results"] == [wanted]
    texts = [base64(content) for content in files.values()]
    records = [{"image": text} for text in texts]
    lines = "\n".join(json.dumps(record) for record in records)
    several = http.post(SCORE, files=[("file", (name, content)) for name, content in files.items()]).json()["results"]
    assert [result.pop("name") for result in several] == list(files)
    answers = [
        http.post(SCORE, json={"records": records}).json()["results"],
        http.post(SCORE, json={"columns": {"image": texts}}).json()["results"],
        [http.post(SCORE, json=records[0]).json()["results"][0]] * len(files),
        http.post(SCORE, content=lines, headers={"content-type": "application/x-ndjson"}).json()["results"],
        http.post(SCORE, content=npy(np.stack([SPOT] * 6)), headers={"content-type": "application/x-npy"}).json()[
            "results"
        ],
        several,
    ]
    for results in answers:
        assert results == [wanted] * len(files)


def test_lines_are_answered_in_lines(http: Client) -> None:
    """Where Accept names them."""
    sent = "\n".join(json.dumps({"image": base64(encoded(picture))}) for picture in (SPOT, dark()))
    answer = http.post(
        SCORE, content=sent, headers={"content-type": "application/x-ndjson", "accept": "application/x-ndjson"}
    )
    assert [json.loads(line)["anomaly"] for line in answer.text.splitlines()] == [True, False]
    assert answer.headers["kilter-model"] == "tiles"


def test_reasons_are_regions_of_the_picture_as_it_was_sent(http: Client) -> None:
    """In its own pixels, upright, whatever the model's size is."""
    want = {"box": {"left": 24, "top": 32, "width": 24, "height": 32}, "share": 1.0}
    for content in (PNG, encoded(np.rot90(SPOT), exif=exif(6))):
        answer = http.post(f"{SCORE}?reasons=2", content=content, headers={"content-type": "image/png"})
        assert answer.json()["results"][0]["reasons"] == [want]
    two = http.post(f"{SCORE}?reasons=true", files=[("a", ("a.png", encoded(dark()))), ("b", ("b.png", PNG))])
    assert [result["reasons"] for result in two.json()["results"]] == [[], [want]]
    array = http.post(f"{SCORE}?reasons=1", content=npy(SPOT), headers={"content-type": "application/x-npy"})
    assert array.json()["results"][0]["reasons"] == [want]
    assert "reasons" not in http.post(f"{SCORE}?reasons=0", json={"image": base64(PNG)}).json()["results"][0]


@pytest.mark.parametrize("asked", ["query", "accept"])
def test_a_heat_map_is_the_picture_with_what_speaks_against_it(http: Client, asked: str) -> None:
    """At the picture's own size; the verdict is in the headers."""
    headers = {"content-type": "image/png"} | ({"accept": "image/png"} if asked == "accept" else {})
    url = f"{SCORE}?heatmap=true" if asked == "query" else SCORE
    answer = http.post(url, content=PNG, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    verdict = http.post(SCORE, content=PNG, headers={"content-type": "image/png"}).json()
    result = verdict["results"][0]
    told = {name: answer.headers[f"kilter-{name}"] for name in ("model", "version", "score", "p-value", "anomaly")}
    assert told == {
        "model": "tiles",
        "version": "2",
        "score": str(result["score"]),
        "p-value": str(result["p_value"]),
        "anomaly": "true",
    }
    with Image.open(BytesIO(answer.content)) as image:
        drawn = np.asarray(image).astype(int)
    assert drawn.shape == (64, 96, 3)
    change = np.abs(drawn - SPOT).sum(axis=2)
    assert change[40:60, 28:44].mean() > 50
    assert change[:20].mean() < 5


def test_a_heat_map_comes_of_every_form_of_one_picture(http: Client) -> None:
    """Base64, a form, an array: the same bytes."""
    url = f"{SCORE}?heatmap=true"
    made = {
        http.post(url, content=PNG, headers={"content-type": "image/png"}).content,
        http.post(url, json={"image": base64(PNG)}).content,
        http.post(url, files={"file": ("a.png", PNG)}).content,
        http.post(url, content=npy(SPOT), headers={"content-type": "application/x-npy"}).content,
    }
    assert len(made) == 1


def test_a_heat_map_is_of_one_picture(http: Client) -> None:
    """And of a picture."""
    two = [("file", ("a.png", PNG)), ("file", ("b.png", PNG))]
    refused(http.post(f"{SCORE}?heatmap=true", files=two), 422, "a heat map is of one picture")
    refused(http.post(f"{SCORE}?heatmap=yes", content=PNG), 422, "heatmap is true or false")
    refused(http.post(f"{SCORE}?nearest_normal=true", content=PNG), 422, "is one of records of fields")
    refused(http.post("/v1/models/shop/score?heatmap=true", json=RECORD), 422, "the model judges records of fields")
    assert http.post(f"{SCORE}?heatmap=false", json={"image": base64(PNG)}, headers={"accept": "image/png"}).json()
    assert http.post("/v1/models/shop/score", json=RECORD, headers={"accept": "image/png"}).json()


def test_what_is_sent_to_the_wrong_model_is_refused(http: Client) -> None:
    """A picture to a model of records, a table to one of pictures: with what it takes."""
    refused(http.post("/v1/models/shop/score", content=PNG, headers={"content-type": "image/png"}), 415, "text/csv")
    answer = http.post(SCORE, content="a,b\n1,2\n", headers={"content-type": "text/csv"})
    refused(answer, 415, "image/png, image/jpeg, image/webp, image/tiff, image/bmp")
    assert "multipart/form-data" in answer.headers["accept-post"]
    refused(http.post(SCORE, json=RECORD), 422, "the field is missing")
    refused(http.post("/v1/models/shop/score", json={"image": base64(PNG)}), 422, "no such field")


HOSTILE = {
    "nothing": b"",
    "a text": b"hello",
    "another format": b"GIF89a" + bytes(100),
    "a page that calls itself a picture": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "cut short": PNG[: len(PNG) // 2],
    "a bomb": png_claiming(30_000, 30_000),
    "too many pixels": encoded(np.zeros((1001, 1000), np.uint8)),
    "no pixels": png_claiming(0, 4),
    "animated": encoded(
        Image.fromarray(scene()), "WEBP", save_all=True, append_images=[Image.fromarray(scene(seed=1))]
    ),
    "pages": encoded(Image.fromarray(scene()), "TIFF", save_all=True, append_images=[Image.fromarray(scene(seed=1))]),
    "endless chunks": FORMATS["PNG"][:33] + chunk(b"IDAT", b"") * 70_000,
    "numbers of no scale": encoded(Image.fromarray(np.full((9, 9), 1e9, np.float32)), "TIFF"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_hostile_is_told_what_is_accepted(http: Client, name: str) -> None:
    """In every form that it can be sent in, with its place; and nothing of that request is judged."""
    content = HOSTILE[name]
    told = limits_in_words(1_000_000) if "scale" not in name else "send finite numbers"
    raw = http.post(SCORE, content=content, headers={"content-type": "image/png"})
    text = http.post(SCORE, json={"records": [{"image": base64(PNG)}, {"image": base64(content)}]})
    form = http.post(SCORE, files=[("f", ("a.png", PNG)), ("f", ("b.png", content))])
    for answer, row in ((raw, 0), (text, 1), (form, 1)):
        refused(answer, 422, told)
        [problem] = answer.json()["problems"]
        assert (problem["row"], problem["field"]) == (row, "image")
    refused(http.post(f"{SCORE}?heatmap=true", content=content, headers={"content-type": "image/png"}), 422, told)


@pytest.mark.parametrize(
    ("value", "told"),
    [(None, "not null"), (3, "not the number 3"), ([[0, 1]], "not a list"), ("@@@@", "no base64"), ("", "empty")],
)
def test_a_cell_that_is_no_picture_is_refused(http: Client, value: Any, told: str) -> None:
    """By record and field."""
    refused(http.post(SCORE, json={"image": value}), 422, told)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_taken(http: Client, form: str) -> None:
    """With loss or without."""
    assert http.post(SCORE, content=FORMATS[form], headers={"content-type": "image/png"}).status_code == 200


def test_bodies_may_be_compressed(http: Client) -> None:
    """As all others may."""
    import gzip

    headers = {"content-type": "image/bmp", "content-encoding": "gzip"}
    answer = http.post(SCORE, content=gzip.compress(encoded(SPOT, "BMP")), headers=headers)
    assert answer.json()["results"][0]["anomaly"] is True


@pytest.mark.parametrize(
    ("content", "stated", "told"),
    [
        (b"", "multipart/form-data", "has a boundary"),
        (b"", "multipart/form-data; boundary=x", "last boundary"),
        (b"hello", "multipart/form-data; boundary=x", "no multipart/form-data"),
        (
            b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nabc",
            "multipart/form-data; boundary=x",
            "last boundary",
        ),
        (b"--x\r\n" + b"A: b\r\n" * 20 + b"\r\n\r\n--x--", "multipart/form-data; boundary=x", "no multipart/form-data"),
        (b"--x--\r\n", "multipart/form-data; boundary=" + "x" * 300, "no multipart/form-data"),
    ],
)
def test_a_damaged_form_is_refused(http: Client, content: bytes, stated: str, told: str) -> None:
    """Each way of it."""
    refused(http.post(SCORE, content=content, headers={"content-type": stated}), 400, told)


def test_a_form_without_files_has_no_records(http: Client) -> None:
    """Which is told as for every other body."""
    content = b"--x--\r\n"
    answer = http.post(SCORE, content=content, headers={"content-type": "multipart/form-data; boundary=x"})
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize(
    ("content", "status", "told"),
    [
        (b"hello", 400, "no npy file"),
        (npy(SPOT)[:-1], 400, "bytes of values"),
        (npy(SPOT) + b"\0", 400, "bytes of values"),
        (npy(SPOT).replace(b"|u1", b"|O "), 400, "npy file"),
        (npy(SPOT).replace(b"|u1", b"<U0"), 400, "send numbers"),
        (npy(np.zeros((2, 3, 4, 5, 6))), 422, "array of shape"),
        (npy(np.full((9, 9), np.nan)), 422, "finite numbers"),
        (npy(np.zeros((2000, 600), np.uint8)), 422, "1 to 1,000,000 are accepted"),
        (b"\x93NUMPY\x01\x00v\x00" + b"(" * 100 + b"\n", 400, "no npy file"),
        (b"\x93NUMPY\x09\x00v\x00", 400, "no npy file"),
    ],
)
def test_a_damaged_array_is_refused(http: Client, content: bytes, status: int, told: str) -> None:
    """What its header says is compared with what there is."""
    refused(http.post(SCORE, content=content, headers={"content-type": "application/x-npy"}), status, told)


def test_arrays_may_be_in_the_order_of_columns(http: Client) -> None:
    """As NumPy writes a transposed one."""
    headers = {"content-type": "application/x-npy"}
    plain = http.post(SCORE, content=npy(SPOT[:, :, 0]), headers=headers).json()
    assert http.post(SCORE, content=npy(np.asfortranarray(SPOT[:, :, 0])), headers=headers).json() == plain


def test_too_many_pictures_are_refused() -> None:
    """By number, and by what they come to at the model's size."""
    with client(picture_detector(), max_records=3) as http:
        assert http.post(SCORE, files=[("f", ("a", PNG))] * 3).status_code == 200
        refused(http.post(SCORE, files=[("f", ("a", PNG))] * 4), 413, "may have 3 records")
        array = npy(np.zeros((4, 9, 9), np.uint8))
        refused(http.post(SCORE, content=array, headers={"content-type": "application/x-npy"}), 413, "3 records")
        refused(http.post(SCORE, json={"records": [{"image": ""}] * 4}), 413, "3 records")


def test_long_requests_are_judged_in_pieces_and_whole() -> None:
    """Each picture has the verdict that it has alone."""
    pictures = [dark(seed=seed) for seed in range(300)]
    pictures[217] = spotted(16, 16)
    with client(picture_detector()) as http:
        answer = http.post(
            f"{SCORE}?reasons=1", content=npy(np.stack(pictures)), headers={"content-type": "application/x-npy"}
        )
    flagged = [i for i, result in enumerate(answer.json()["results"]) if result["anomaly"]]
    assert flagged == [217]
    assert answer.json()["results"][217]["reasons"][0]["box"] == {"left": 4, "top": 8, "width": 4, "height": 8}


def test_large_pictures_are_not_decoded_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few bytes they have; tiny ones are, which takes no time."""
    places: list[str] = []

    def noted(*arguments: Any) -> Any:
        places.append(threading.current_thread().name.partition("_")[0])
        return to_pixels(*arguments)

    monkeypatch.setattr("kilter.service.judging.intake.to_pixels", noted)
    with client(picture_detector()) as http:
        for picture in (dark(), np.zeros((3000, 3000), np.uint8)):
            content = encoded(picture)
            assert len(content) < INLINE_BYTES
            for answer in (
                http.post(SCORE, content=content, headers={"content-type": "image/png"}),
                http.post(SCORE, json={"image": base64(content)}),
            ):
                assert answer.status_code == 200
    assert places == ["MainThread", "MainThread", "kilter-pictures", "kilter-pictures"]


def test_pictures_in_flight_are_bounded() -> None:
    """What would take more memory than there is, is told to come back; what was accepted is answered."""
    large = encoded(np.zeros((1500, 1500), np.uint8))
    with client(picture_detector(seconds=0.05), max_inflight_bytes=3 * len(large)) as http:
        sent = [http.http.post(SCORE, content=large, headers={"content-type": "image/png"}) for _ in range(12)]
        answers = http.together(*sent)
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)


def test_a_request_whose_time_is_over_is_not_decoded() -> None:
    """It is told so, once it is its turn."""
    with client(picture_detector()) as http:
        content = encoded(np.zeros((2000, 2000), np.uint8))
        answer = http.post(SCORE, content=content, headers={"content-type": "image/png", "request-timeout": "0.000001"})
    assert answer.status_code in (408, 503)


def test_requests_at_once_get_the_verdicts_that_they_get_alone() -> None:
    """Whichever are judged together."""
    pictures = [dark(seed=seed) if seed % 3 else spotted(20 + seed, 30) for seed in range(30)]
    with client(picture_detector()) as http:
        alone = [http.post(SCORE, content=encoded(p), headers={"content-type": "image/png"}).json() for p in pictures]

        async def one(picture: npt.NDArray[np.uint8]) -> Any:
            await asyncio.sleep(0)
            headers = {"content-type": "image/png"}
            return (await http.http.post(SCORE, content=encoded(picture), headers=headers)).json()

        assert http.together(*map(one, pictures)) == alone


def test_a_model_in_colour_takes_grey_and_colour() -> None:
    """Each is brought to what the model sees."""
    with client(picture_detector(column=COLOUR)) as http:
        for picture in (SPOT, np.repeat(SPOT, 3, axis=2)):
            answer = http.post(SCORE, content=encoded(picture), headers={"content-type": "image/png"})
            assert answer.json()["results"][0]["anomaly"] is True


def test_the_model_is_described(http: Client) -> None:
    """Its one field is a picture, and its example is answered."""
    about = http.get("/v1/models/tiles").json()
    [field] = about["schema"]
    assert field | {"missing": 0} == {
        "kind": "image",
        "name": "image",
        "height": 16,
        "width": 16,
        "channels": 1,
        "low": 0.0,
        "high": 255.0,
        "deep": None,
        "missing": 0,
    }
    assert http.post(SCORE, json=about["example"]).status_code == 200
    assert http.get("/").status_code == 200
    assert http.get("/docs").status_code == 200


def test_pictures_are_counted_and_watched() -> None:
    """As records, and by brightness, contrast and sharpness, not by any pixel."""
    metrics = Metrics()
    with client(picture_detector(), metrics=metrics) as http:
        http.post(SCORE, files=[("f", ("a", PNG)), ("f", ("b", encoded(dark())))])
        http.post(SCORE, content=b"hello", headers={"content-type": "image/png"})
        text = http.get("/metrics").text
    for line in (
        'kilter_records_total{model="tiles",result="anomalous",version="2"} 1.0',
        'kilter_records_total{model="tiles",result="normal",version="2"} 1.0',
        'kilter_records_total{model="tiles",result="rejected",version="2"} 1.0',
        'kilter_drift_window_records{model="tiles",version="2"} 2.0',
        'kilter_feature_missing_total{feature="image.sharpness",model="tiles",version="2"} 0.0',
    ):
        assert line in text, line
    drift = [line for line in text.splitlines() if line.startswith("kilter_feature_drift{")]
    assert [line.split('"')[1] for line in drift] == ["image.brightness", "image.contrast", "image.sharpness"]
