"""A protocol that passes over offers to upgrade, as RFC 9110 (7.8) allows: clients send them unasked.

`curl --http2` and Java's client offer HTTP/2 with their first request. The parser of uvicorn then takes the head for
the whole request, so that its body would be lost, and read as the next request.
"""

from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kilter.service.request import TRANSPORT

CONNECT = b"CONNECT"  # to a parser it is always an upgrade, and there is no other reading of it


class BlindParser:
    """A parser as uvicorn's: the head of a request that offers an upgrade is parsed again without the offer."""

    def __init__(self, parser: Any, protocol: "UpgradeBlindProtocol") -> None:
        self._protocol = protocol
        self._use(parser)

    def _use(self, parser: Any) -> None:
        self._parser = parser
        self.get_http_version = parser.get_http_version
        self.get_method = parser.get_method
        self.should_keep_alive = parser.should_keep_alive
        self.should_upgrade = parser.should_upgrade

    def feed_data(self, data: bytes) -> None:
        """Raises httptools.HttpParserError, and HttpParserUpgrade for a CONNECT."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_over(memoryview(data), upgrade)

    def _pass_over(self, data: memoryview, upgrade: httptools.HttpParserUpgrade) -> None:
        while self._protocol.offered:
            data = data[upgrade.args[0] :]
            head = self._protocol.plain_head()
            self._use(new_parser(self._protocol))  # the old one takes no more if the request asks to close
            self._parser.feed_data(head)
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as another:
                upgrade = another
            else:
                return
        raise upgrade


def new_parser(protocol: HttpToolsProtocol) -> Any:
    """A parser as uvicorn makes them: what comes after the end of a connection is no error."""
    parser = httptools.HttpRequestParser(protocol)
    if hasattr(parser, "set_dangerous_leniencies"):
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


class UpgradeBlindProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, to which a request that offers an upgrade is one that does not."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.offered = False
        """Whether the head that was parsed last offers an upgrade; then it is parsed once more."""
        self.parser = cast(Any, BlindParser(self.parser, self))

    def plain_head(self) -> bytes:
        """The head that was parsed last, without its offer."""
        start = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        lines = [b"%b: %b" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([start, *lines, b"", b""])

    def on_headers_complete(self) -> None:
        self.offered = self.parser.should_upgrade() and self.parser.get_method() != CONNECT
        if not self.offered:
            cast(Any, self.scope)[TRANSPORT] = self.transport
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.offered:
            super().on_message_complete()
