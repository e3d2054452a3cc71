"""Where the records of a text table begin, and what their fields are called: header, titles, row names, neither.

What is decided here is decided on the fields of the first records alone.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kilter.service.detector.names import MADE_UP, name_form

Row = Sequence[str]
VALUE = re.compile(r"[+-]?[$€£]?[.,]?\d([\d.,:/'+\-T ]*\d)?([eE][+-]?\d+)?[%Z]?")
YEAR = re.compile(r"(18|19|20)\d\d([-/.]?\d\d?)*")  # or a month or a day of one
MOST_TITLES = 50
"""Records before the header, at most."""
MOSTLY = 0.9
ROW_NAMES = "row_names"


class Heading(NamedTuple):
    """How a table begins."""

    columns: tuple[str, ...]
    header: int | None
    """Position of the header among the records; None if there is none."""
    first: int
    """Position of the first record below it."""
    surplus: int = 0
    """Empty fields that a record has after those of the columns."""
    missing: int = 0
    """Fields that the header lacks at its end; those it has too many of, if negative."""
    row_names: bool = False
    """Whether the header has no name for the first field."""
    units: bool = False
    """Whether the first record below the header is a second line of it."""
    explained: bool = True
    """Whether the header has as many fields as most records, or it is known why not."""


def is_value(text: str) -> bool:
    """Whether a text is rather a number, a date or a time than a name."""
    return VALUE.fullmatch(text.strip()) is not None


def has_names(row: Row, names: Iterable[str]) -> bool:
    """Whether a record holds every one of some names."""
    return {*map(name_form, names)} <= {*map(name_form, row)}


def could_be_header(row: Row) -> bool:
    """Whether the fields of a record could be names: all different, and none empty or a value."""
    cells = [cell.strip() for cell in row]
    return all(cells) and len({*cells}) == len(cells) and not any(map(is_value, cells))


def all_values(cells: Iterable[str]) -> bool:
    """Whether some cells, those that are empty aside, are values, one at least."""
    present = [cell for cell in cells if cell.strip()]
    return bool(present) and all(map(is_value, present))


def stands_above(row: Row, below: Sequence[Row]) -> bool:
    """Whether a record could be the header of some others, one column of which holds values alone."""
    return could_be_header(row) and any(map(all_values, zip(*below, strict=False)))


def usual_width(rows: Sequence[Row]) -> int:
    """The number of fields that most records have; of two that are as frequent the higher one."""
    return max(Counter(map(len, rows)).items(), key=lambda item: (item[1], item[0]), default=(0, 0))[0]


def find_heading(rows: Sequence[Row], names: Sequence[str] = (), header: bool | None = None) -> Heading:
    """The heading of some first records; `header` says whether there is a header if that is known.

    `names` are columns that it should have.
    """
    width = usual_width(rows)
    if names:
        top = next((i for i, row in enumerate(rows[:MOST_TITLES]) if has_names(row, names)), None)
        if top is not None and header is not False:
            return _below(rows, top)
        if header is None and all(map(MADE_UP.fullmatch, names)):
            header = False
    top = next(i for i, row in enumerate(rows) if len(row) == width)
    if header is False:
        return _without_header(rows, top)
    titles = rows[:top]
    if top == 0:
        top = _padded_titles(rows, width)
        heading = _below(rows, top)
    elif (heading := _below(rows, top - 1)).explained and _shorter(titles[:-1], width):
        return heading
    elif _shorter(titles, width) and could_be_header(_trimmed(rows[top])) and top <= MOST_TITLES:
        return _below(rows, top)
    else:
        heading = _below(rows, 0)
    if header is None and heading.explained and not heading.row_names and lacks_header(rows, heading):
        return _without_header(rows, top)
    return heading


def lacks_header(rows: Sequence[Row], heading: Heading) -> bool:
    """Whether what stands in the header's place is a record like those below it.

    It is where numbers stand above numbers and nowhere a text above numbers; where a code stands above codes of the
    same shape; or where each of its texts occurs again in its column. Years, and 0, 1, 2, ... are names where they
    stand above other numbers.
    """
    top = heading.first - 1
    row = [cell.strip() for cell in rows[top]]
    below = [other for other in rows[heading.first :] if len(other) == len(row) and [*map(str.strip, other)] != row]
    if not below:
        return False
    columns = [[cell for cell in map(str.strip, cells) if cell] for cells in zip(*below, strict=True)]
    of_values = [bool(cells) and sum(map(is_value, cells)) >= MOSTLY * len(cells) for cells in columns]
    values = [is_value(cell) for cell in row]
    texts = [cell for cell, value in zip(row, values, strict=True) if cell and not value]
    if any(cell and beneath and not value for cell, value, beneath in zip(row, values, of_values, strict=True)):
        return False
    if not row[0] and all(row[1:]) and len(columns[0]) == len(below):  # above the names of rows
        return False
    if any(_shape(cell) and {_shape(cell)} == {*map(_shape, cells)} for cell, cells in zip(row, columns, strict=True)):
        return True
    if any(values):
        numbers = [cell for cell, value in zip(row, values, strict=True) if value]
        if len(numbers) > 1 and numbers == [*map(str, range(len(numbers)))]:
            return False
        years = [cells for cell, cells in zip(row, columns, strict=True) if YEAR.fullmatch(cell)]
        if len(years) == len(numbers) == len({*numbers}) and not any(
            all(map(YEAR.fullmatch, cells)) for cells in years
        ):
            return False
        return any(value and beneath for value, beneath in zip(values, of_values, strict=True))
    return len(texts) > 0 and all(cell in cells for cell, cells in zip(row, columns, strict=True) if cell)


def _trimmed(row: Row) -> Row:
    """A record without the empty fields at its end."""
    return row[: len(row) - _empty_at_end([row])]


def _shorter(titles: Sequence[Row], width: int) -> bool:
    return all(len(title) < width for title in titles)


def _without_header(rows: Sequence[Row], top: int) -> Heading:
    """Columns without names; empty fields at the end of every record are none."""
    width = usual_width(rows)
    surplus = _empty_at_end([row for row in rows if len(row) == width])
    columns = tuple(f"column_{i + 1}" for i in range(width - surplus))
    return Heading(columns, None, top, surplus)


def _empty_at_end(rows: Sequence[Row]) -> int:
    """Number of fields at the end that are empty in every record of the same length; but never all of them."""
    width = len(rows[0]) if rows else 0
    return next((i for i in range(width - 1) if any(row[width - 1 - i].strip() for row in rows)), max(0, width - 1))


def _padded_titles(rows: Sequence[Row], width: int) -> int:
    """The position of the header below titles that are filled up with empty fields; 0 if there are none."""
    below = [row for row in rows if len(row) == width]
    if width < 2 or rows[0][-1].strip() or sum(bool(row[-1].strip()) for row in below) < len(below) / 2:
        return 0
    top = next((i for i, row in enumerate(rows[:MOST_TITLES]) if len(row) == width and row[-1].strip()), 0)
    return top if could_be_header(rows[top]) else 0


def _below(rows: Sequence[Row], top: int) -> Heading:
    """The heading with the header at a position."""
    header = [*rows[top]]
    named = len(_trimmed(header))
    widths = [len(row) for row in rows[top + 1 :]]
    width = usual_width(rows[top + 1 :]) or len(header)
    if widths.count(len(header)) == widths.count(width):
        width = len(header)
    below = [row for row in rows[top + 1 :] if len(row) == width]
    first = top + 1
    names = tuple(header)
    if width == named < len(header):
        return Heading(_named(names[:width]), top, first, missing=width - len(header))
    spare = _empty_at_end(below)
    numbered = width == len(header) + 1 and [row[0] for row in below] == [*map(str, range(1, len(below) + 1))]
    if numbered and spare > 1:
        spare = 0  # the last column is empty, and not what stands behind it
    if named < width <= named + spare and (width > len(header) or named < len(header)):
        heading = Heading(_named(names[:named]), top, first, surplus=width - named, missing=max(0, width - len(header)))
    elif width == len(header) + 1 and could_be_header(header) and _has_row_names(below):
        return Heading((_free_name(names), *names), top, first, row_names=True)
    else:
        heading = Heading(_named(names), top, first, explained=width == len(header))
    return heading._replace(units=_is_units(below, named) if heading.explained else False)


def _has_row_names(below: Sequence[Row]) -> bool:
    """Whether the first field of records below a header that is one field shorter is likely to be a name.

    It is not where the first of the records is rather a header, and what is above it a title.
    """
    width = len(below[0])
    if could_be_header(below[0]):
        return width > 2 and not stands_above(below[0], below[1:])
    return width > 2 or not all(is_value(row[0]) for row in below)


def _is_units(below: Sequence[Row], named: int) -> bool:
    """Whether the first record holds no value, and a text above a column of values."""
    if len(below) < 3 or any(is_value(cell) for cell in below[0]):
        return False
    columns = [*zip(*below, strict=True)][:named]
    texts = (bool(cells[0].strip()) and not MISSING.fullmatch(cells[0].strip()) for cells in columns)
    return any(text and all_values(cells[1:]) for text, cells in zip(texts, columns, strict=True))


def _shape(text: str) -> str:
    """A text with every digit as a 0; an empty one for a text without digits, or so short that it says little."""
    shape = re.sub(r"\d", "0", text)
    return shape if shape.count("0") and len(shape) > 3 else ""


MISSING = re.compile(r"[?.\-]+|\\?N|#?N/?A|<NA>|nan|null|none|nat|\(null\)", re.IGNORECASE)


def _named(names: Sequence[str]) -> tuple[str, ...]:
    """Names of columns, made up where several are empty."""
    if sum(not name.strip() for name in names) < 2:
        return tuple(names)
    return tuple(name if name.strip() else f"column_{i + 1}" for i, name in enumerate(names))


def _free_name(names: Sequence[str]) -> str:
    name = ROW_NAMES
    while name in names:
        name += "_"
    return name
