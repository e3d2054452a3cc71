"""The formats in which records come and go: in files, in the bodies of requests, and for training.

A format is one entry in `FORMATS`: how it is recognised, what it is called, and what reads and writes it. Whoever reads
or writes records asks here. Importing this package imports no table library and no web framework.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from kilter.service.detector.pictures.containers import format_of

if TYPE_CHECKING:
    from kilter.service.detector.schema import Schema
    from kilter.service.formats.bodies import Body, Call
    from kilter.service.formats.joining import Joiner
    from kilter.service.formats.reading import Reader
    from kilter.service.formats.source import Source
    from kilter.service.formats.writers import Output, Writer

    Opener = Callable[[Source], Reader]
    WriterMaker = Callable[[Output, Reader, Schema, Sequence[str], Sequence[str] | None], Writer]
    BodyReader = Callable[[Call], Body]

T = TypeVar("T")
ZIP = b"PK\x03\x04"
GZIP = b"\x1f\x8b"
NPY = b"\x93NUMPY"
JSON = "application/json"
NDJSON = "application/x-ndjson"
CSV = "text/csv"
PNG = "image/png"


@dataclass(frozen=True)
class Format:
    """One format. What reads and writes it is a function, or its place as "module:name", imported when it is needed."""

    name: str
    title: str
    """How a message says what something is: `a Parquet file`."""
    recognises: Callable[[bytes], bool] = lambda head: False
    """Whether a file that begins with these bytes (the first 256 kB) is of this format."""
    endings: tuple[str, ...] = ()
    """Of file names, in lower case, the first being the one to advise."""
    media_types: tuple[str, ...] = ()
    """Of bodies, the first being the one of an answer; `aliases` mean the same."""
    aliases: tuple[str, ...] = ()
    modality: str | None = "table"
    """Of the models whose records come in it; None for every modality."""
    description: str = ""
    """What a body of it holds, for the OpenAPI document."""
    schema: Mapping[str, Any] | None = None
    """The JSON Schema of such a body, where it is neither one text nor bytes."""
    open: "Opener | str | None" = None
    write: "WriterMaker | str | None" = None
    """Opens a writer for the records of a reader with their verdicts, and with the further columns that are named.

    The last argument are the columns of the reader that are kept, where that is not all.
    """
    join: "Joiner | str | None" = None
    """Makes a file of parts that were written by themselves; None where they are written one after the other alone."""
    body: "BodyReader | str | None" = "kilter.service.formats.bodies:read_table_body"
    divisible: bool = False
    """Whether a range of a file may be read by itself, if the file is not compressed."""
    packable: bool = False
    """Whether a file of it may be compressed as a whole."""
    answers: bool = False
    """Whether the answer to a body of it may be the same table with the verdicts appended."""

    def opener(self) -> "Opener":
        """What opens a file. Raises TypeError if nothing does."""
        return _resolved(self.open)

    def writer(self) -> "WriterMaker":
        """What opens a writer. Raises TypeError if nothing does."""
        return _resolved(self.write)

    def joiner(self) -> "Joiner":
        """What makes a file of parts. Raises TypeError if nothing does."""
        return _resolved(self.join)

    def body_reader(self) -> "BodyReader":
        """What reads a body. Raises TypeError if nothing does."""
        return _resolved(self.body)


def _resolved(part: T | str | None) -> T:
    if part is None:
        raise TypeError("the format does not do this")
    return _imported(part) if isinstance(part, str) else part


@cache
def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _begins(*magic: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(magic)


def _by(place: str) -> Callable[[bytes], bool]:
    """What recognises a format, imported where bytes begin as JSON does."""
    return lambda head: head[:16].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") and bool(_imported(place)(head))


_TYPED = "kilter.service.formats.typed:TypedReader"
_ARROW_BODY = "kilter.service.formats.typed:read_arrow_body"
_ARROW_ENDINGS = (".arrow", ".feather", ".ipc")

FORMATS: list[Format] = [
    Format(
        "picture",
        "a picture",
        lambda head: format_of(head[:16]) is not None,
        (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".tif", ".tiff", ".bmp", ".dib"),
        (PNG, "image/jpeg", "image/webp", "image/tiff", "image/bmp", "application/octet-stream"),
        ("image/jpg", "image/pjpeg", "image/tif", "image/x-tiff", "image/x-ms-bmp", "image/x-bmp"),
        modality="image",
        description="A picture's file; its content decides which format it has.",
        body="kilter.service.formats.bodies:read_picture_body",
    ),
    Format(
        "multipart",
        "several files of a form",
        media_types=("multipart/form-data",),
        modality="image",
        description="A picture's file in each part, of whatever name.",
        schema={
            "type": "object",
            "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}},
            "required": ["file"],
        },
        body="kilter.service.formats.bodies:read_form_body",
    ),
    Format(
        "json",
        "JSON",
        _by("kilter.service.formats.json_files:is_json"),
        endings=(".json",),
        media_types=(JSON,),
        modality=None,
        open="kilter.service.formats.json_files:JsonReader",
        body="kilter.service.formats.json_body:read_json_body",
    ),
    Format(
        "csv",
        "a text table",
        endings=(".csv", ".tsv", ".txt"),
        media_types=(CSV,),
        description="A header with every field of the model, in any order, and a line per record; an empty cell stands "
        "for an unknown value. Delimiter, quoting and encoding are recognised, or stated by `delimiter`, `charset` and "
        "`header` (present or absent) in the content type.",
        open="kilter.service.formats.text:TextReader",
        write="kilter.service.formats.writers:write_text",
        join="kilter.service.formats.joining:join_text",
        divisible=True,
        packable=True,
        answers=True,
    ),
    Format(
        "ndjson",
        "NDJSON",
        _by("kilter.service.formats.json_files:is_ndjson"),
        endings=(".ndjson", ".jsonl"),
        media_types=(NDJSON,),
        aliases=("application/ndjson", "application/jsonl", "application/x-jsonlines"),
        modality=None,
        open="kilter.service.formats.json_stream:open_ndjson",
        description="A record as JSON in each line, with every field of the model.",
        write="kilter.service.formats.writers:write_ndjson",
        join="kilter.service.formats.joining:join_text",
        divisible=True,
        packable=True,
        body="kilter.service.formats.json_body:LinesBody",
    ),
    Format(
        "parquet",
        "a Parquet file",
        _begins(b"PAR1\x15"),  # the name alone may also begin the header of a text table
        (".parquet", ".pq"),
        open=_TYPED,
        write="kilter.service.formats.writers:write_parquet",
        join="kilter.service.formats.joining:join_parquet",
        divisible=True,
    ),
    Format(
        "arrow",
        "an Arrow file",
        _begins(b"ARROW1\0\0"),
        _ARROW_ENDINGS,
        ("application/vnd.apache.arrow.file",),
        description="A table with a column for every field of the model, in any order, in the Arrow IPC file format.",
        open=_TYPED,
        write="kilter.service.formats.writers:write_arrow",
        join="kilter.service.formats.joining:join_arrow",
        divisible=True,
        body=_ARROW_BODY,
    ),
    Format(
        "arrow-stream",
        "an Arrow stream",
        _begins(b"\xff\xff\xff\xff"),
        (".arrows", *_ARROW_ENDINGS),
        ("application/vnd.apache.arrow.stream",),
        description="A table with a column for every field of the model, in any order, in the Arrow IPC stream format.",
        open="kilter.service.formats.arrow_stream:ArrowStreamReader",
        write="kilter.service.formats.arrow_stream:write_arrow_stream",
        body=_ARROW_BODY,
    ),
    Format("npz", "an npz file", lambda head: head.startswith(ZIP) and b".npy" in head[:200], (".npz",), open=_TYPED),
    Format(
        "npy",
        "an npy file",
        _begins(NPY),
        (".npy",),
        ("application/x-npy",),
        modality="image",
        description="Pictures as an array in NumPy's format npy: (n, h, w), (n, h, w, c), or one of them.",
        body="kilter.service.formats.bodies:read_array_body",
    ),
]
"""The formats of tables in the order in which they are asked whether they recognise a file; text is what is left."""


def format_named(name: str) -> Format:
    """The format of a name. Raises KeyError if there is none."""
    return {one.name: one for one in FORMATS}[name]


def formats_of(modality: str) -> list[Format]:
    """The formats in which bodies with records of a modality come."""
    return [one for one in FORMATS if one.modality in (modality, None) and one.media_types]


def _tables() -> list[Format]:
    return [one for one in FORMATS if one.modality in ("table", None)]


def format_of_content(head: bytes) -> Format | None:
    """The format of tables that recognises a file by its first bytes; None for text, and for what is no table."""
    return next((one for one in _tables() if one.recognises(head)), None)


def format_of_ending(suffixes: Iterable[str]) -> Format | None:
    """The format of tables that the last known ending of a file's name stands for; None if none is known."""
    by_ending = {ending: one for one in _tables() for ending in one.endings}
    return next((by_ending[suffix.lower()] for suffix in reversed([*suffixes]) if suffix.lower() in by_ending), None)


def format_of_media_type(media_type: str, modality: str) -> Format | None:
    """The format of a body with records of a modality; None if such bodies are not taken."""
    return next((one for one in formats_of(modality) if media_type in (*one.media_types, *one.aliases)), None)
