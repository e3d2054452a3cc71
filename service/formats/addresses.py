"""Files that are not on this machine, by their addresses: in S3 and Google Cloud Storage, and on the web.

What reads and writes them is fsspec, with a package for each kind, which an extra of the distribution brings. Who may
do what is for the environment to say, as these packages document it.
"""

import io
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import has_magic
from hashlib import sha256
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import unquote, urlsplit

from kilter.service.detector.errors import KilterError
from kilter.service.formats.contents import ContentRead

PACKAGES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "http": ("aiohttp", "http"), "https": ("aiohttp", "http")}
"""What an address of each kind needs: a package, and the extra that brings it."""
WRITABLE = ("s3", "gs")
AHEAD = 1 << 23  # bytes that are fetched at a time
STAMPS = ("generation", "ETag", "etag", "Content-MD5", "LastModified", "Last-Modified", "updated", "mtime")
"""What a store says that tells one content of a file from another, the surest first."""
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/{1,2}", re.IGNORECASE)  # of two letters at least: others are drives


class Address:
    """An address like `s3://bucket/folder/file.csv`; it does what a `Path` does where Kilter needs it."""

    def __init__(self, text: str) -> None:
        """Raises KilterError if it is of an unknown kind."""
        self._text = text
        self.scheme = text.partition("://")[0].lower()
        if self.scheme not in PACKAGES:
            raise KilterError(
                f"{text} is an address of a kind that is not read: s3://, gs:// and https:// are; fetch it"
            )

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Address({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __lt__(self, other: "Address") -> bool:
        return self._text.split("/") < other._text.split("/")  # as paths are sorted

    def __truediv__(self, name: str) -> "Address":
        return Address(f"{self._text.rstrip('/')}/{name}")

    @property
    def parent(self) -> "Address":
        return Address(self._text.rstrip("/").rpartition("/")[0])

    @property
    def name(self) -> str:
        """The last part, without what is asked of a web server."""
        return self._path.name

    @property
    def suffix(self) -> str:
        return self._path.suffix

    @property
    def suffixes(self) -> list[str]:
        return self._path.suffixes

    def with_name(self, name: str) -> "Address":
        return self.parent / name

    def is_relative_to(self, other: "Address") -> bool:
        """Whether it is the other one, or below it."""
        return f"{self._text.rstrip('/')}/".startswith(f"{other._text.rstrip('/')}/")

    def relative_to(self, other: "Address") -> PurePosixPath:
        """The path from a folder that it is below. Raises KilterError if that leads out of it."""
        text = self._text.removeprefix(f"{other._text.rstrip('/')}/")
        text = unquote(text) if self.scheme.startswith("http") else text
        path = PurePosixPath(text.lstrip("/"))
        if ".." in path.parts:
            raise KilterError(f"{self} leads out of {other}: name it by itself")
        return path

    def exists(self) -> bool:
        return self._kind() is not None

    def is_file(self) -> bool:
        return self._kind() == "file"

    def is_dir(self) -> bool:
        return self._kind() == "directory"

    def facts(self) -> "FileFacts":
        """What is said of the file. Raises KilterError if it is not there."""
        try:
            info = self._info()
        except FileNotFoundError as error:
            # fsspec takes every answer of a web server that is an error for this one.
            why = f": {_reason(error.__cause__)}" if isinstance(error.__cause__, Exception) else ""
            raise KilterError(f"there is no file {self}{why if self.scheme.startswith('http') else ''}") from None
        stamp = next((f"{name} {info[name]}" for name in STAMPS if info.get(name)), "")
        return FileFacts(int(info.get("size") or 0), stamp)

    def has_magic(self) -> bool:
        """Whether it is a pattern; a question mark is none on the web."""
        return has_magic(self._text.replace("?", "") if self.scheme.startswith("http") else self._text)

    def glob(self, pattern: str) -> list["Address"]:
        """What fits a pattern in the folder."""
        return (self / pattern).matches()

    def matches(self) -> list["Address"]:
        """What fits it as a pattern, in order."""
        with self._said("cannot be listed"):
            return sorted(map(self._of, self._files().glob(self._text)), key=str)

    def files_below(self) -> list["Address"]:
        """All files in the folder and below it, in order."""
        with self._said("cannot be listed"):
            return sorted(map(self._of, self._files().find(self._text)))

    def open_file(self) -> "RemoteFile":
        """The file, to be read from its start. Raises KilterError if it is not there."""
        return RemoteFile(self)

    def read_bytes(self) -> bytes:
        with self._said("cannot be read"):
            content: bytes = self._files().cat_file(self._text)
        return content

    def write_bytes(self, content: bytes) -> None:
        """Write a small file, which appears whole or not at all."""
        self.check_writable()
        with self._said("cannot be written"):
            self._files().pipe_file(self._text, content)

    def upload(self, path: Path) -> None:
        """Write a file, which appears whole, once all its parts are there, or not at all."""
        self.check_writable()
        with self._said("cannot be written"):
            self._files().put_file(str(path), self._text)

    def unlink(self, *, missing_ok: bool = False) -> None:
        if missing_ok and not self.exists():
            return
        with self._said("cannot be removed"):
            self._files().rm_file(self._text)

    def check_writable(self) -> None:
        """Raise KilterError if nothing can be written to addresses of its kind."""
        if self.scheme not in WRITABLE:
            raise KilterError(f"{self} cannot be written: only files of this machine, of s3:// and of gs:// can")

    @property
    def _path(self) -> PurePosixPath:
        path = unquote(urlsplit(self._text).path) if self.scheme.startswith("http") else self._text.partition("://")[2]
        return PurePosixPath(path)

    def _kind(self) -> str | None:
        """`file` or `directory`; None if there is nothing."""
        if self.scheme.startswith("http") and self._text.endswith("/"):
            return "directory"
        try:
            return str(self._info()["type"])
        except FileNotFoundError:
            return None

    def _info(self) -> dict[str, Any]:
        with self._said("cannot be looked at", passing=FileNotFoundError):
            info: dict[str, Any] = self._files().info(self._text)
        return info

    def _of(self, path: str) -> "Address":
        """The address of a path as fsspec names it."""
        return Address(path if "://" in path else f"{self.scheme}://{path}")

    def _files(self) -> Any:
        """The file system of fsspec. Raises KilterError if a package is missing."""
        package, extra = PACKAGES[self.scheme]
        try:
            import_module(package)
            import fsspec
        except ImportError:
            raise KilterError(f"{self} needs the package {package}: pip install 'kilter[{extra}]'") from None
        return fsspec.filesystem(self.scheme, use_listings_cache=False)

    @contextmanager
    def _said(self, what: str, passing: type[Exception] = KilterError) -> Iterator[None]:
        """Errors of any package, but for one that passes, as one that names the address."""
        try:
            yield
        except (KilterError, passing):
            raise
        except Exception as error:
            raise KilterError(f"{self} {what}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


class FileFacts(NamedTuple):
    """What a server says of a file."""

    size: int
    """Its bytes; 0 if that is not said."""
    stamp: str
    """What tells this content from another; an empty text if nothing does."""


class RemoteFile(io.RawIOBase):
    """A file of an address, read from its start; that all of it came, and of one content, is known at its end."""

    def __init__(self, address: Address) -> None:
        """Raises KilterError if it cannot be read."""
        self._address = address
        self.facts = address.facts()
        with address._said("cannot be read"):
            self._file = address._files().open(str(address), "rb", block_size=AHEAD, cache_type="readahead")
        self._hash = sha256()
        self._position = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, none at the end. Raises KilterError if it is cut short, or was changed."""
        with self._address._said("cannot be read"):
            data: bytes = self._file.read(size)
        self._hash.update(data)
        self._position += len(data)
        if not data and size:
            if self.facts.size and self._position != self.facts.size:
                raise KilterError(f"{self._address} is cut short: {self._position:,} of {self.facts.size:,} bytes came")
            if self._address.facts() != self.facts:
                raise KilterError(f"{self._address} was changed while it was read: read it again")
        return data

    def content(self, *, final: bool) -> ContentRead:
        """What was read so far; all if that is `final`."""
        while final and self.read(AHEAD):
            pass
        return ContentRead(self._position, self._hash.hexdigest())


Place = Path | Address
"""Where a file or folder is."""


def place_of(stated: str | Place) -> Place:
    """A path of this machine, or an address. What is there under a name goes before what looks like an address."""
    if isinstance(stated, Address):
        return stated
    address = _ADDRESS.match(str(stated))
    if address is None or Path(stated).exists():
        return Path(stated)
    return Address(f"{address[1].lower()}://{str(stated)[address.end() :]}")  # a path has lost one of the two


def local_path(place: Place) -> Path:
    """A path of this machine. Raises KilterError for an address."""
    if isinstance(place, Address):
        raise KilterError(f"{place} is an address, and pictures are read from this machine: fetch them")
    return place


def file_bytes(place: Place) -> int:
    """Bytes of a file; 0 of what is none."""
    if isinstance(place, Address):
        return place.facts().size if place.is_file() else 0
    return place.stat().st_size if place.is_file() else 0


@contextmanager
def upload_to(address: Address) -> Iterator[BinaryIO]:
    """A file that appears whole at an address, once it is closed, or not at all."""
    with tempfile.NamedTemporaryFile(prefix="kilter-") as file:
        yield file  # type: ignore[misc]
        file.flush()
        address.upload(Path(file.name))


def fetch(address: Address, path: Path) -> None:
    """Copy a file to this machine. Raises KilterError."""
    with address.open_file() as source, path.open("wb") as file:
        shutil.copyfileobj(source, file, AHEAD)
