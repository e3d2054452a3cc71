"""Requests that no well-meant client sends: valid ones with bodies, headers, paths and queries changed at random.

A case is made from a seed and its number alone, so that one that fails can be made again.
"""

import gzip
import json
import random
from base64 import b64encode
from collections.abc import Sequence
from copy import deepcopy
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np

from kilter.service.formats.encodings import compress
from tests.support.pictures import encoded, scene
from tests.support.protocol_client import binary, tensor
from tests.support.protocol_server import METER
from tests.support.serving import RECORD

Headers = list[tuple[bytes, bytes]]
JSON, CSV, NDJSON, OCTETS = "application/json", "text/csv", "application/x-ndjson", "application/octet-stream"
ARROW = "application/vnd.apache.arrow.stream"
BOMB = gzip.compress(bytes(20_000_000), 1)
ZSTD_BOMB = compress(bytes(20_000_000), "zstd")


class Seed(NamedTuple):
    """The body of a valid request and its headers."""

    content: bytes
    headers: dict[str, str]


class Case(NamedTuple):
    """A request as a server hands it on: the body in chunks, after which the client stays or leaves."""

    method: str
    path: str
    query: bytes
    headers: Headers
    chunks: Sequence[bytes]
    leaves: bool


def picture_seeds() -> list[Seed]:
    """Valid bodies of the score route of a model of pictures."""
    files = {form: encoded(scene(24, 20), form) for form in ("PNG", "JPEG", "WEBP", "TIFF", "BMP")}
    texts = [b64encode(content).decode() for content in files.values()]
    array = BytesIO()
    np.save(array, scene(24, 20)[None])
    parts = (
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n' + content + b"\r\n"
        for content in files.values()
    )
    return [
        *(Seed(content, {"content-type": f"image/{form.lower()}"}) for form, content in files.items()),
        Seed(files["PNG"], {"content-type": "image/png", "accept": "image/png"}),
        Seed(json.dumps({"image": texts[0]}).encode(), {"content-type": JSON}),
        Seed(json.dumps({"records": [{"image": text} for text in texts]}).encode(), {"content-type": JSON}),
        Seed(json.dumps({"columns": {"image": texts}}).encode(), {"content-type": JSON}),
        Seed("\n".join(json.dumps({"image": text}) for text in texts).encode(), {"content-type": NDJSON}),
        Seed(b"".join(parts) + b"--x--\r\n", {"content-type": "multipart/form-data; boundary=x"}),
        Seed(array.getvalue(), {"content-type": "application/x-npy"}),
    ]


def _csv(rows: int) -> bytes:
    line = "52.5,3,true,red,2024-05-31T08:15:00\n"
    return (",".join(RECORD) + "\n" + line * rows).encode()


def _inputs() -> list[dict[str, Any]]:
    kinds = {"amount": "FP64", "items": "INT32", "member": "BOOL", "colour": "BYTES", "at": "BYTES"}
    return [tensor(name, kind, [RECORD[name]] * 2) for name, kind in kinds.items()]


def native_seeds() -> list[Seed]:
    """Valid bodies of the score route."""
    many = json.dumps({"records": [RECORD] * 3}).encode()
    lines = b"\n".join([json.dumps(RECORD).encode()] * 3)
    form = b'--x\r\nContent-Disposition: form-data; name="records"\r\n\r\n' + many + b"\r\n--x--\r\n"
    return [
        Seed(many, {"content-type": JSON}),
        Seed(json.dumps(RECORD).encode(), {"content-type": JSON}),
        Seed(json.dumps({name: [value] * 3 for name, value in RECORD.items()}).encode(), {"content-type": JSON}),
        Seed(json.dumps({"records": [RECORD] * 600}).encode(), {"content-type": JSON}),
        Seed(_csv(3), {"content-type": CSV}),
        Seed(_csv(3), {"content-type": CSV, "accept": CSV}),
        Seed(lines, {"content-type": NDJSON}),
        Seed(_arrow(), {"content-type": ARROW}),
        Seed(form, {"content-type": "multipart/form-data; boundary=x"}),
    ]


def _arrow() -> bytes:
    import io

    import polars as pl

    out = io.BytesIO()
    pl.DataFrame([RECORD] * 3).write_ipc_stream(out)
    return out.getvalue()


def protocol_seeds() -> list[Seed]:
    """Valid bodies of the inference routes."""
    wanted = {"id": "7", "outputs": [{"name": "score", "parameters": {"binary_data": True}}, {"name": "anomaly"}]}
    matrix = tensor("records", "FP32", [0.5, 1.5, 2.0, 3.0, 1.0] * 4, [4, len(METER.names)])
    contributions = {"outputs": [{"name": "feature_contribution"}], "parameters": {"binary_data_output": True}}
    made = [
        Seed(json.dumps({"inputs": _inputs()} | wanted).encode(), {"content-type": JSON}),
        Seed(json.dumps({"inputs": [matrix]} | contributions).encode(), {"content-type": JSON}),
    ]
    pixels = tensor("image", "UINT8", list(range(128)), [2, 8, 8, 1])
    made.append(Seed(json.dumps({"inputs": [pixels]} | wanted).encode(), {"content-type": JSON}))
    for content, headers in (
        binary(_inputs(), **wanted),
        binary([matrix], **contributions),
        binary([pixels], **wanted),
    ):
        made.append(Seed(content, headers | {"content-type": OCTETS}))
    return made


def admin_seeds() -> list[Seed]:
    """Valid bodies of the administration's routes."""
    bodies: list[dict[str, Any]] = [{}, {"version": 3}, {"target_fpr": 0.1}, {"ready": True}]
    return [Seed(json.dumps(body).encode(), {"content-type": JSON}) for body in bodies]


TOKENS = (
    *(b"NaN", b"-Infinity", b"1e999", b"-0", b"9" * 400, b"1.7976931348623157e308", b"3.5e38", b"0x10", b"1_000"),
    *(b"null", b"true", b"[]", b"{}", b'""', b'"\\ud800"', b'"\\u0000"', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf"),
    *(b"[" * 3000, b'{"a":' * 3000, b"," * 50, b'"', b"\\", b"\r\n", b"\x1f\x8b\x08\x00", b"(\xb5/\xfd", b"ARROW1"),
    *("é漢🦜".encode(), b"2024-02-30T25:61:00", b"9999-12-31T23:59:59+14:00", b"-1e-320", b"18446744073709551616"),
)
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31,
        2**63,
        2**64,
        10**30,
        -(2**63),
        1e308,
        -1e39,
        0.1,
        "",
        "red",
        "NaN",
        "x" * 300,
    ),
    *([], {}, [[]], [None], [[1, 2], [3]], {"records": []}, {"a": {"b": []}}, "FP32", "BYTES", "BOOL", "INT64", [-1]),
    *([2**62, 4], [10**18], [0], [1], [4, 5], "2024-05-31T08:15:00", "records", "amount", {"binary_data_size": 2**40}),
)
TYPES = (
    *(
        JSON,
        CSV,
        NDJSON,
        ARROW,
        OCTETS,
        "",
        "*/*",
        "application/json; charset=utf-16",
        "application/json;;;=",
        "image/png",
    ),
    *("multipart/form-data", "multipart/form-data; boundary=" + "b" * 300, "application/x-www-form-urlencoded"),
    *(
        "text/csv; header=absent; charset=ebcdic",
        "APPLICATION/JSON",
        "application/xml",
        "\xff\xfe",
        "a" * 4000,
        ";",
        "/",
    ),
    *("application/vnd.apache.arrow.file", "application/x-ndjson; charset=latin-1", "application/jsonl"),
)
ENCODINGS = (
    *("gzip", "zstd", "deflate", "br", "identity", "gzip, gzip", "zstd,gzip", "compress", "", "x" * 500, "gzip;q=0"),
)
LENGTHS = (
    "0",
    "1",
    "-1",
    "+5",
    " 7",
    "1e3",
    "0x10",
    "99999999999999999999",
    "9" * 5000,
    "",
    "ten",
    "1,1",
    "\xb2",
    "1_0",
)
QUERIES = (
    *(b"", b"reasons=true", b"reasons=3", b"reasons=-1", b"reasons=1e9", b"reasons=%00", b"reasons=1&reasons=2", b"%"),
    *(b"heatmap=true", b"heatmap=true&reasons=2", b"heatmap=", b"heatmap=\xff", b"heatmap=true&heatmap=false"),
    *(b"reasons=" + b"9" * 5000, b"=", b"&" * 2000, b"reasons=\xff", b"a=b", b"?" * 20, b"reasons[]=1"),
)
NAMES = (
    "nope",
    "",
    "..",
    "%00",
    "SHOP",
    "shop ",
    "é",
    "a" * 5000,
    "shop/../meter",
    "'; drop",
    "{name}",
    "\x00",
    "\ufffd",
)
VERSIONS = ("0", "-1", "03", "9" * 30, "3.0", "latest", "", "٣", "²")
STRAYS: tuple[tuple[str, str], ...] = (
    *(
        ("accept", CSV),
        ("accept", "\xff"),
        ("accept", "*/*;q=x"),
        ("accept-encoding", "gzip"),
        ("accept-encoding", "zstd"),
    ),
    *(("accept-encoding", "deflate"), ("accept-encoding", "gzip;q=0, *;q=0"), ("accept-encoding", "," * 3000)),
    *(("x-request-id", "a b"), ("x-request-id", "x" * 5000), ("traceparent", "00-zz"), ("host", "[::1"), ("host", "")),
    *(("authorization", "Bearer "), ("authorization", "Basic \xff"), ("x-forwarded-for", "1.2.3.4, \xff")),
    *(("expect", "100-continue"), ("transfer-encoding", "chunked"), ("range", "bytes=0-"), ("cookie", "a" * 3000)),
    *(("request-timeout", "-1"), ("x-request-timeout", "1e9"), ("prefer", "wait=0"), ("if-match", "*")),
)


def case(seed: str, number: int, routes: Sequence[tuple[str, str]], secret: str) -> Case:
    """The case of that number: a request to one of `routes`, method and path with its parameters in braces."""
    chance = random.Random(f"{seed} {number}")
    method, template = chance.choice(routes)
    if template.endswith("/infer"):
        seeds = protocol_seeds()
    elif template.endswith("/score"):
        seeds = native_seeds() + picture_seeds()
    else:
        seeds = admin_seeds()
    found = chance.choice(seeds)
    path = template.replace(
        "{name}", chance.choice(("shop", "meter", "tiles")) if chance.random() < 0.9 else chance.choice(NAMES)
    )
    path = path.replace("{version}", "3" if chance.random() < 0.8 else chance.choice(VERSIONS))
    content, headers = found.content, dict(found.headers)
    for _ in range(chance.choice((0, 0, 1, 1, 1, 2, 4))):
        content = chance.choice(BODIES)(chance, content)
    content = _encoded(chance, content, headers)
    headers["authorization"] = f"Bearer {secret}"
    sent: Headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    for _ in range(chance.choice((0, 0, 1, 2))):
        _disturb(chance, sent)
    if chance.random() < 0.7:
        sent.append((b"content-length", str(len(content)).encode()))
    query = chance.choice(QUERIES) if chance.random() < 0.2 else b""
    return Case(method, path, query, sent, _chunks(chance, content), chance.random() < 0.03)


def _chunks(chance: random.Random, content: bytes) -> list[bytes]:
    cuts = sorted(chance.randrange(len(content) + 1) for _ in range(chance.choice((0, 0, 0, 1, 5))))
    return [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]


def _encoded(chance: random.Random, content: bytes, headers: dict[str, str]) -> bytes:
    """The content compressed as the headers say, or not quite."""
    if chance.random() < 0.75:
        return content
    name = headers["content-encoding"] = chance.choice(ENCODINGS[:4] if chance.random() < 0.8 else ENCODINGS)
    if chance.random() < 0.15:
        return chance.choice((BOMB, ZSTD_BOMB, BOMB[:500], content))
    packed = compress(content, name if name in ("zstd", "deflate") else "gzip")
    return chance.choice((_flip, _cut, _double))(chance, packed) if chance.random() < 0.3 else packed


def _disturb(chance: random.Random, headers: Headers) -> None:
    """Change, double, drop or add a header."""
    match chance.randrange(6):
        case 0:
            headers.append((b"content-type", chance.choice(TYPES).encode("latin-1")))
            headers.reverse()
        case 1:
            headers.append((b"content-length", chance.choice(LENGTHS).encode("latin-1")))
        case 2:
            name = b"inference-header-content-length"
            headers[:] = [(key, value) for key, value in headers if key != name]
            headers.append((name, chance.choice((*LENGTHS, str(chance.randrange(2000)))).encode("latin-1")))
        case 3:
            headers.append((b"content-encoding", chance.choice(ENCODINGS).encode()))
        case 4:
            stray, value = chance.choice(STRAYS)
            headers.append((stray.encode(), value.encode("latin-1")))
        case _:
            if headers:
                del headers[chance.randrange(len(headers))]


def _place(chance: random.Random, content: bytes) -> int:
    return chance.randrange(len(content) + 1)


def _flip(chance: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 4, 40))):
        if changed:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _cut(chance: random.Random, content: bytes) -> bytes:
    start, end = sorted((_place(chance, content), _place(chance, content)))
    return content[:start] + content[end:] if chance.random() < 0.5 else content[start:end]


def _double(chance: random.Random, content: bytes) -> bytes:
    start, end = sorted((_place(chance, content), _place(chance, content)))
    return content[:end] + content[start:end] * chance.choice((1, 2, 20)) + content[end:]


def _insert(chance: random.Random, content: bytes) -> bytes:
    place = _place(chance, content)
    return content[:place] + chance.choice(TOKENS) + content[place:]


def _nest(chance: random.Random, content: bytes) -> bytes:
    depth = chance.choice((1, 30, 2000, 20_000))
    before, after = chance.choice(((b"[", b"]"), (b'{"records":', b"}"), (b'{"inputs":[', b"]}")))
    return before * depth + content + after * depth


def _replace(chance: random.Random, content: bytes) -> bytes:
    """Random bytes, nothing, or a valid body of another route."""
    other = chance.choice((*native_seeds(), *protocol_seeds(), *picture_seeds())).content
    return chance.choice((b"", chance.randbytes(chance.choice((1, 40, 3000))), other))


def _edit(chance: random.Random, content: bytes) -> bytes:
    """Another value, key or element somewhere in the JSON, if it is any; what follows it stays."""
    try:
        value, end = json.JSONDecoder().raw_decode(content.decode("latin-1"))
    except (ValueError, RecursionError):
        return _insert(chance, content)
    for _ in range(chance.choice((1, 1, 2, 5))):
        value = _edited(chance, value)
    return json.dumps(value).encode() + content[end:]


def _value(chance: random.Random) -> Any:
    return deepcopy(chance.choice(VALUES))


def _edited(chance: random.Random, value: Any) -> Any:
    if not value or not isinstance(value, dict | list) or chance.random() < 0.1:
        return _value(chance)
    key = chance.choice([*value]) if isinstance(value, dict) else chance.randrange(len(value))
    match chance.randrange(8):
        case 0:
            del value[key]
        case 1 if isinstance(value, dict):
            value[chance.choice([*RECORD, "records", "inputs", "id", "x", ""])] = _value(chance)
        case 2 if isinstance(value, list):
            value += [value[key]] * chance.choice((1, 3, 300))
        case _:
            value[key] = _edited(chance, value[key])
    return value


BODIES = (_flip, _cut, _double, _insert, _nest, _replace, _edit, _edit, _edit)
