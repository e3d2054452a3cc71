"""Records of files and of tables in bodies: opened, in batches of rows, as the detector's typed columns, or whole.

Every text is stripped of blanks before it is compared with a text that means a missing value, or read as a number, a
flag or a time. A categorical text that is not missing is taken as it stands. A typed cell whose type is not the
column's own is read as the text that it would be in a CSV file.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, Self, overload

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from kilter.service.detector.arrays import Array, Positions
from kilter.service.detector.columns import Column
from kilter.service.detector.columns.cells import Decimal, TextCells, as_text, number_expression, only_finite
from kilter.service.detector.errors import KilterError, Problem, RecordsError
from kilter.service.detector.inputs import Table, absent_columns, from_records, in_order
from kilter.service.detector.names import name_form, own_names
from kilter.service.detector.schema import Schema
from kilter.service.formats.addresses import Place
from kilter.service.formats.contents import ContentRead
from kilter.service.formats.ranges import FileRange
from kilter.service.formats.samples import RowSample
from kilter.service.formats.source import NO_HINTS, Hints, Source

if TYPE_CHECKING:
    from kilter.service.formats.records import Dialect

CELLS = 1 << 22  # about the most cells of which copies are held at a time
SHOWN = 5  # faults of a file that are listed in full
NUMBER = "\0number"  # a column beside those of a file while rows are drawn: no file has one of this name
COMMA = r"^[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?$"
POINT = r"^[+-]?[0-9]*\.[0-9]+([eE][+-]?[0-9]+)?$"
WHOLE = r"^[+-]?[0-9]+$"


class PlainLines(Sequence[bytes]):
    """The own bytes of records that are a line each, which are cut apart once one of them is looked at."""

    def __init__(self, data: bytes, count: int) -> None:
        """`data` are so many lines, of which the last one may lack its line ending."""
        self.data = data
        self._count = count

    @cached_property
    def lines(self) -> list[bytes]:
        return self.data.splitlines(keepends=True)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        return self.lines[index]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self.lines == [*other]

    __hash__ = None  # type: ignore[assignment]


class Batch(NamedTuple):
    """Some consecutive records of a file."""

    frame: pl.DataFrame
    """All text for a text table, with empty cells in a row that has a fault; of pictures, their names."""
    first: int
    """Position of its first record in the file, from 0."""
    faults: Sequence[Problem] = ()
    """Records that could not be read, counted from the batch's first."""
    raw: Sequence[bytes] = ()
    """Each record's own bytes with its line ending, of a text table (in UTF-8 where the file is UTF-16)."""
    cells: Sequence[Any] | None = None
    """Where a record is one cell that is not in the frame, a picture: the bytes of its file, or an array."""

    dialect: "Dialect | None" = None
    """How a text table's own bytes are to be read, as far as was known when they were."""

    def name(self, row: int) -> str:
        """How a message names one of its records."""
        return f"record {self.first + row}" if self.cells is None else str(self.frame[row, 0])


class Block(Protocol):
    """Consecutive records of a file that may be read in any thread; the reader alone knows where it ends."""

    @property
    def rows(self) -> int:
        """Number of its records."""

    def read(self) -> Batch:
        """The records."""


class ReadBlock(NamedTuple):
    """A block of which there is nothing left to read."""

    batch: Batch

    @property
    def rows(self) -> int:
        return self.batch.frame.height

    def read(self) -> Batch:
        return self.batch


class Reader(Protocol):
    """Records that are open for reading; a context manager that closes their file."""

    name: str
    columns: tuple[str, ...]
    notes: tuple[str, ...] = ()
    dialect: "Dialect | None" = None
    """How a text table is written; None for anything else."""
    header: bytes = b""
    """The own bytes of a text table's header, with as many fields as a record; made up where it has none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    @property
    def share(self) -> float:
        """The share of the file that is read, as far as it can be told."""
        return 0.0

    def content(self, *, final: bool) -> ContentRead:
        """What was read of the file so far, or all of it if it is `final`; nothing of a stream. Raises KilterError."""
        return ContentRead()

    def batches(self) -> Iterator[Batch]:
        """Every record, once, in order; at least one batch. Raises KilterError if the file turns out to be damaged."""

    def blocks(self) -> Iterator[Block]:
        """The same batches before they are read, where most of the work can be left to others."""
        return map(ReadBlock, self.batches())

    def ranges(self, size: int) -> Iterator[FileRange]:
        """Ranges of about so many bytes that make up the file, found in one pass; none if it can only be read whole."""
        return iter(())


def check_columns(name: str, columns: Sequence[str], remedy: str) -> tuple[str, ...]:
    """The columns of a table. Raises KilterError if it has none, or two of one name."""
    if not columns:
        raise KilterError(f"{name} has no columns")
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise KilterError(f"{name} has two columns named {twice[0]!r}: give each its own name ({remedy})")
    return tuple(columns)


def read_batch(schema: Schema, batch: Batch) -> Table:
    """The typed columns of a batch. Raises RecordsError if a column that is needed is not there."""
    if batch.cells is None:
        return to_table(schema, batch.frame, faults=batch.faults)
    [name] = schema.names
    table = from_records(schema, [{name: cell} for cell in batch.cells])
    return table._replace(problems=_with_faults(table.problems, batch.faults))


def to_table(schema: Schema, frame: pl.DataFrame, *, faults: Sequence[Problem] = ()) -> Table:
    """The typed columns that `schema` needs, and the problems of cells; other columns of `frame` are passed over.

    `faults` are problems of whole rows, beside which those of their cells do not count. Raises RecordsError if a
    column that is needed is not there.
    """
    own = own_names(schema.names, frame.columns)
    if own:
        frame = frame.rename({given: name for name, given in own.items()})
    absent = absent_columns(schema, frame.columns)
    if absent:
        raise RecordsError(absent)
    problems: list[Problem] = []
    columns: dict[str, Array] = {}
    step = max(1, CELLS // max(1, frame.height))
    for start in range(0, len(schema.fields), step):
        columns |= _typed(schema, schema.fields[start : start + step], frame, problems)
    return Table(columns, frame.height, _with_faults(problems, faults))


def _with_faults(problems: Sequence[Problem], faults: Sequence[Problem]) -> list[Problem]:
    faulty = {fault.row for fault in faults}
    return in_order([*faults, *(problem for problem in problems if problem.row not in faulty)])


def _typed(schema: Schema, columns: Sequence[Column], frame: pl.DataFrame, problems: list[Problem]) -> dict[str, Array]:
    """The typed values of some columns, read at once: an operation of polars costs as much as some hundred cells."""
    cells = {column.name: frame[column.name] for column in columns}
    texts = [column for column in columns if not column.holds(cells[column.name].dtype)]
    cells |= {column.name: as_text(cells[column.name]) for column in texts}
    numeric = [column for column in texts if column.written_as_number]
    numbers = _numbers(schema, cells, numeric)
    # What is a number as it stands is the same one without the blanks around it.
    bare = {column.name for column in numeric if _is_bare(cells[column.name], numbers[column.name])}
    padded = [column for column in texts if column.name not in bare]
    stripped = {name: cells[name] for name in bare}
    stripped |= _all_at_once(cells, padded, lambda text: text.str.strip_chars())
    numeric = [column for column in numeric if column.name not in bare]
    numbers |= _numbers(schema, stripped, numeric)
    missing = frozenset(schema.null_tokens)
    typed = {}
    for column in columns:
        name = column.name
        if name in stripped:
            text = TextCells(cells[name], stripped[name], numbers.get(name), missing, schema.decimal)
            typed[name] = column.from_texts(text, problems)
        else:
            typed[name] = column.from_series(cells[name])
            problems += column.problems(typed[name])
    return typed


def _numbers(schema: Schema, cells: Mapping[str, pl.Series], columns: Sequence[Column]) -> dict[str, pl.Series]:
    """The texts of some columns as finite numbers, null where one is none, by name."""
    several = _all_at_once(cells, columns, lambda text: number_expression(text, schema.decimal))
    return {name: only_finite(numbers) for name, numbers in several.items()}


def _is_bare(texts: pl.Series, numbers: pl.Series) -> bool:
    """Whether no text that is not a number has blanks around it."""
    if not numbers.null_count():
        return True
    others = texts.alias("").gather(numbers.is_null().arg_true())  # a name may look like a pattern of polars
    return others.equals(others.str.strip_chars(), null_equal=True)


def _all_at_once(
    cells: Mapping[str, pl.Series], columns: Sequence[Column], work: Callable[[pl.Expr], pl.Expr]
) -> dict[str, pl.Series]:
    """The results of an expression for some columns, by name; a name may look like a pattern of polars."""
    if not columns:
        return {}
    frame = pl.DataFrame([cells[column.name].alias(str(i)) for i, column in enumerate(columns)])
    return dict(zip([column.name for column in columns], frame.select(work(pl.all())), strict=True))


class Frame(NamedTuple):
    """Every row of some files, one after the other; with notes on wrong endings and on rows that were left out."""

    frame: pl.DataFrame
    text: bool
    """Whether the cells are texts as they stand in the files, none of them null."""
    decimal: Decimal
    notes: tuple[str, ...]
    drawn_from: int
    """Rows that could be read, of which these were drawn."""
    numbers: Positions
    """The number of each row in its file, from 0, (rows,)."""
    files: Positions
    """The place of that file among those that were read, (rows,)."""


def open_table(path: str | Place, stdin: BinaryIO | None = None, hints: Hints = NO_HINTS) -> Reader:
    """Open the table in a file, or on standard input for `-`. Raises KilterError if it is no table that can be read.

    Its `batches` are then read in bounded memory, except from an npz file or JSON that is not a record a line, which
    are read whole. What `hints` state a format of is a body.
    """
    source = Source(path, stdin, "standard input" if hints.stated is None else "the body", hints)
    try:
        return source.format.opener()(source)
    except BaseException:
        source.close()
        raise


def read_frame(
    paths: Sequence[str | Place],
    stdin: BinaryIO | None = None,
    hints: Hints = NO_HINTS,
    *,
    most: int = sys.maxsize,
    seed: int = 0,
) -> Frame:
    """Read files that have the same columns, in any order, into one frame; rows with a fault are left out and noted.

    Of more rows than `most` as many are drawn by `seed`, in bounded memory, each as likely as any other. Raises
    KilterError, which names the file, if one cannot be read, has no rows, or has other columns or types than the first.
    """
    sample = RowSample(most, seed)
    names: tuple[str, ...] = ()
    notes: list[str] = []
    texts: list[bool] = []
    delimiters: set[str] = set()
    for place, path in enumerate(paths):
        with open_table(path, stdin, hints) as table:
            if names:
                _check_same(table, names, str(paths[0]))
            names = names or table.columns
            own = own_names(names, table.columns)
            given = [own.get(name, name) for name in names]
            messages: list[str] = []
            rows = 0
            for frame, numbers in _good_rows(table, messages):
                named = frame[given].rename(dict(zip(given, names, strict=True)))
                sample.add(place, named.with_columns(pl.Series(NUMBER, numbers)))
                rows += frame.height
            hints = hints._replace(names=hints.names or table.columns)
            notes += [*table.notes, *_left_out(table.name, messages, rows)]
            texts.append(table.dialect is not None)
            delimiters.add(table.dialect.delimiter if table.dialect else "")
    if any(texts) and not all(texts):
        raise KilterError("text tables and typed ones (Parquet, Arrow, npz) cannot be read together: convert one kind")
    groups = list(sample.frames())
    try:
        whole = pl.concat([frame for _, frame in groups], how="vertical_relaxed")
    except PolarsError as error:
        raise KilterError(f"the files {', '.join(map(str, paths))} have different types: {error}") from None
    numbers = whole.drop_in_place(NUMBER).to_numpy()
    files = np.repeat([place for place, _ in groups], [frame.height for _, frame in groups])
    decimal: Decimal = find_decimal(whole) if texts[0] and delimiters != {","} else "."
    return Frame(whole, texts[0], decimal, tuple(notes), sample.seen, numbers, files)


def _good_rows(table: Reader, messages: list[str]) -> Iterator[tuple[pl.DataFrame, Positions]]:
    """The rows that can be read, batch by batch, with their numbers; what is wrong with others goes to `messages`."""
    for batch in table.batches():
        numbers = np.arange(batch.first, batch.first + batch.frame.height)
        bad = {fault.row for fault in batch.faults}
        messages += [fault.message for fault in batch.faults]
        if bad:
            good = [row not in bad for row in range(batch.frame.height)]
            yield batch.frame.filter(good), numbers[good]
        else:
            yield batch.frame, numbers


def _left_out(name: str, messages: Sequence[str], rows: int) -> list[str]:
    """A note of the rows that cannot be read. Raises KilterError if there are no others."""
    if not rows:
        raise KilterError(
            f"{name} has no row that can be read: {messages[0]}" if messages else f"{name} has a header and no rows"
        )
    if not messages:
        return []
    left_out = "1 row is" if len(messages) == 1 else f"{len(messages):,} rows are"
    more = f"; and {len(messages) - SHOWN:,} more" if len(messages) > SHOWN else ""
    return [f"{name}: {left_out} left out, as they cannot be read: {'; '.join(messages[:SHOWN])}{more}"]


def _check_same(table: Reader, expected: Sequence[str], first: str) -> None:
    given, wanted = {*map(name_form, table.columns)}, {*map(name_form, expected)}
    absent = [name for name in expected if name_form(name) not in given]
    extra = [name for name in table.columns if name_form(name) not in wanted]
    if absent or extra:
        parts = [f"lacks {', '.join(map(repr, absent))}"] if absent else []
        parts += [f"has besides {', '.join(map(repr, extra))}"] if extra else []
        wrong = " and ".join(parts)
        raise KilterError(f"{table.name} has not the columns of {first}: it {wrong}. All files need the same columns")


def find_decimal(frame: pl.DataFrame) -> Decimal:
    """The decimal sign of a frame of texts: `,` if some column's numbers have one, and no column's a point."""
    sign: Decimal = "."
    tokens = [*Schema((), 0).null_tokens]
    for column in frame.iter_columns():
        cells = column.str.strip_chars()
        cells = cells.filter(~cells.is_in(tokens))
        if not len(cells):
            continue
        numbers = cells.str.contains(WHOLE)
        commas = cells.str.contains(COMMA)
        if commas.any() and (numbers | commas).sum() >= 0.9 * len(cells):
            sign = ","
        elif (points := cells.str.contains(POINT)).any() and (numbers | points).all():
            return "."
    return sign
