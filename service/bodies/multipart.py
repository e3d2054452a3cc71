"""Several files in one body, as forms and `curl -F` send them (RFC 7578)."""

from typing import NamedTuple

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from kilter.service.bodies.body import too_many
from kilter.service.problems import BAD_BODY, RequestError

LONGEST_NAME = 255


class Part(NamedTuple):
    """A file of a form."""

    name: str
    """Of the file; where it has none, of the field."""
    content: bytes


def parts(content: bytes, stated: str, limit: int) -> list[Part]:
    """The parts of a body in their order; `stated` is its content type, with the boundary.

    Raises RequestError if it is damaged, or has more than `limit`.
    """
    reader = _Reader(limit)
    _, options = parse_options_header(stated)
    boundary = options.get(b"boundary")
    if not boundary:
        raise RequestError(BAD_BODY, "the content type of several files has a boundary: let your client set it")
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.begin,
                "on_header_field": reader.field,
                "on_header_value": reader.value,
                "on_header_end": reader.header,
                "on_part_data": reader.data,
                "on_part_end": reader.end,
                "on_end": reader.finish,
            },
        )
        parser.write(content)
        parser.finalize()
    except FormParserError as error:
        raise RequestError(BAD_BODY, f"the body is no multipart/form-data: {str(error)[:200]}") from None
    if not reader.finished:
        raise RequestError(BAD_BODY, "the body ends before its last boundary: send the whole of it")
    return reader.parts


class _Reader:
    """Takes what the parser finds."""

    def __init__(self, limit: int) -> None:
        self.parts: list[Part] = []
        self.finished = False
        self._limit = limit
        self._field = self._value = b""
        self._name = ""
        self._pieces: list[bytes] = []

    def begin(self) -> None:
        if len(self.parts) >= self._limit:
            raise too_many(self._limit)
        self._name, self._pieces, self._field, self._value = "", [], b"", b""

    def field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header(self) -> None:
        if self._field.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            named = options.get(b"filename") or options.get(b"name") or b""
            self._name = named.decode("utf-8", "replace")[:LONGEST_NAME]
        self._field = self._value = b""

    def data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def end(self) -> None:
        self.parts.append(Part(self._name, b"".join(self._pieces)))

    def finish(self) -> None:
        self.finished = True
