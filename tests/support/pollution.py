"""Pollutions of CSV files: each makes of a clean table a file as people meet them, and says what should be read of it.

After Vitagliano et al., Pollock: A data loading benchmark (PVLDB 2023), which counted what is wrong with public files.
"""

import csv
import io
from collections.abc import Callable
from random import Random
from typing import NamedTuple

Rows = list[list[str]]


class Polluted(NamedTuple):
    """A file, and the table that is in it."""

    data: bytes
    header: list[str] | None
    """None where the file has none."""
    rows: Rows
    lost: int = 0
    """Records that nobody could read, and which are to be named."""


WORDS = ("north", "south", "east", "west", "upper hall", "lower hall")
CITIES = {
    "cp1252": ("Köln", "Düsseldorf", "Orléans", "Málaga", "Zürich"),
    "cp1251": ("Москва", "Казань", "Самара", "Воронеж", "Тверь"),
    "gb18030": ("北京市", "上海市", "广州市", "深圳市", "天津市"),
    "cp932": ("東京都", "大阪府", "横浜市", "札幌市", "さいたま"),
}


FIELDS: dict[str, Callable[[Random], str]] = {
    "sensor": lambda random: f"s-{random.randrange(100):03d}",
    "temperature": lambda random: f"{random.gauss(20, 3):.2f}",
    "load": lambda random: str(random.randrange(1000)),
    "ok": lambda random: random.choice(("yes", "no")),
    "day": lambda random: f"2024-{random.randrange(1, 13):02d}-{random.randrange(1, 29):02d}",
    "count_2023": lambda random: random.choice(("", "0", "1", "7")),
    "kind": lambda random: random.choice("ABC"),
}


def clean_table(random: Random) -> tuple[list[str], Rows]:
    """A header and 5 to 60 records of 2 to 8 fields of all kinds; the last one is a text that may need quotes."""
    header = [*random.sample([*FIELDS], random.randrange(1, len(FIELDS) + 1)), "site"]
    rows = [
        [*(FIELDS[name](random) for name in header[:-1]), random.choice(WORDS)] for _ in range(random.randrange(5, 60))
    ]
    return header, rows


def written(rows: Rows, delimiter: str = ",", newline: str = "\n", **options: str | int) -> str:
    """Rows as the csv module writes them."""
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator=newline, **options).writerows(rows)  # type: ignore[arg-type]
    return file.getvalue()


def another_delimiter(random: Random, header: list[str], rows: Rows) -> Polluted:
    """Semicolons, tabs, bars, carets, or a control character."""
    return Polluted(written([header, *rows], random.choice(";\t|^~\x01\x1f")).encode(), header, rows)


def blanks_as_delimiter(random: Random, header: list[str], rows: Rows) -> Polluted:
    """Columns of one width, filled up with blanks; what is missing has a mark."""
    rows = [[cell.replace(" ", "_") or "NA" for cell in row] for row in rows]
    lines = ("".join(f"{cell:<14s}" for cell in row).rstrip() for row in [header, *rows])
    return Polluted("\n".join(lines).encode(), header, rows)


def another_quote(random: Random, header: list[str], rows: Rows) -> Polluted:
    """Apostrophes around every field, some of which hold the delimiter."""
    rows = [[*row[:-1], f"{row[-1]}, hall {i}"] for i, row in enumerate(rows)]
    return Polluted(written([header, *rows], quotechar="'", quoting=csv.QUOTE_ALL).encode(), header, rows)


def another_escape(random: Random, header: list[str], rows: Rows) -> Polluted:
    """Quotes within quotes behind a backslash."""
    rows = [[*row[:-1], f'the "{row[-1]}", hall {i}'] for i, row in enumerate(rows)]
    quoted = [[*row[:-1], '"' + row[-1].replace('"', '\\"') + '"'] for row in rows]
    return Polluted("\n".join(",".join(row) for row in [header, *quoted]).encode(), header, rows)


def line_ends(random: Random, header: list[str], rows: Rows) -> Polluted:
    """Those of Windows or of old Macs, or none at the end of the file."""
    text = written([header, *rows], newline=random.choice(("\r\n", "\r", "\n")))
    return Polluted(text.rstrip("\r\n").encode(), header, rows)


def lines_in_fields(random: Random, header: list[str], rows: Rows) -> Polluted:
    """Quoted fields of several lines."""
    rows = [[*row[:-1], row[-1].replace(" ", "\n")] for row in rows]
    return Polluted(written([header, *rows]).encode(), header, rows)


def legacy_encoding(random: Random, header: list[str], rows: Rows) -> Polluted:
    """An encoding of one country, which nothing states."""
    encoding = random.choice([*CITIES])
    rows = [[*row[:-1], random.choice(CITIES[encoding])] for row in rows]
    return Polluted(written([header, *rows]).encode(encoding), header, rows)


def wide_encoding(random: Random, header: list[str], rows: Rows) -> Polluted:
    """UTF-16 or UTF-32, with a mark or without."""
    encoding = random.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"))
    return Polluted(written([header, *rows]).encode(encoding), header, rows)


def byte_order_mark(random: Random, header: list[str], rows: Rows) -> Polluted:
    """UTF-8 with a mark, which is no part of the first name."""
    return Polluted(written([header, *rows]).encode("utf-8-sig"), header, rows)


def stated_delimiter(random: Random, header: list[str], rows: Rows) -> Polluted:
    """Excel's line `sep=`."""
    delimiter = random.choice(";,|^")
    return Polluted(f"sep={delimiter}\n{written([header, *rows], delimiter)}".encode(), header, rows)


def comments(random: Random, header: list[str], rows: Rows) -> Polluted:
    """Lines of a program above the header."""
    mark = random.choice(("# ", "#", "% ", "// "))
    lines = ["measured by hand, twice", "version 1.2", "units: C, kW"][: random.randrange(1, 4)]
    return Polluted(("".join(f"{mark}{line}\n" for line in lines) + written([header, *rows])).encode(), header, rows)


def titles(random: Random, header: list[str], rows: Rows) -> Polluted:
    """Lines of a spreadsheet above the header, filled up with empty fields or not."""
    width = random.choice((0, len(header) - 1))
    above = [f"Report of {random.randrange(2000, 2030)}", "by the plant in Hamburg"][: random.randrange(1, 3)]
    padded = [line + "," * width for line in above]
    gap = random.choice(("", "\n"))
    return Polluted(("\n".join(padded) + "\n" + gap + written([header, *rows])).encode(), header, rows)


def annotations(random: Random, header: list[str], rows: Rows) -> Polluted:
    """Influx's three lines, and its first column without a name."""
    names = ["", *header]
    width = len(header)
    above = ["#group" + ",false" * width, "#datatype" + ",string" * width, "#default" + "," * width]
    rows = [["", *row] for row in rows]
    return Polluted(("\n".join(above) + "\n" + written([names, *rows])).encode(), names, rows)


def footer(random: Random, header: list[str], rows: Rows) -> Polluted:
    """A count or a total below the records."""
    total = ["Total", *([""] * (len(header) - 2)), f"{len(rows)}"]
    padded = "(end)" + "," * (len(header) - 1) + "\n"
    last = random.choice((f"-- {len(rows)} rows --\n", written([total]), "\nSource: the plant\n", padded))
    return Polluted((written([header, *rows]) + last).encode(), header, rows, lost=1)


def trailing_delimiters(random: Random, header: list[str], rows: Rows) -> Polluted:
    """At the end of every line, of the records alone, or of the header alone; one or several."""
    of_header, of_rows = random.choice(((1, 1), (0, 1), (1, 0), (3, 3), (0, 2)))
    lines = [written([header]).strip() + "," * of_header, *(written([row]).strip() + "," * of_rows for row in rows)]
    return Polluted("\n".join(lines).encode(), header, rows)


def blank_lines(random: Random, header: list[str], rows: Rows) -> Polluted:
    """Before the header, between records and at the end."""
    lines = written([header, *rows]).splitlines()
    for _ in range(4):
        lines.insert(random.randrange(len(lines)), "")
    return Polluted(("\n".join(lines) + "\n\n\n").encode(), header, rows)


def repeated_header(random: Random, header: list[str], rows: Rows) -> Polluted:
    """As where files were put one after the other."""
    middle = random.randrange(1, len(rows))
    return Polluted(written([header, *rows[:middle], header, *rows[middle:]]).encode(), header, rows, lost=1)


def ragged_rows(random: Random, header: list[str], rows: Rows) -> Polluted:
    """A record that lacks fields and one that has too many."""
    places = random.sample(range(len(rows)), 2)
    bad = [row[:-1] if i == places[0] else [*row, "x"] if i == places[1] else row for i, row in enumerate(rows)]
    good = [row for i, row in enumerate(rows) if i not in places]
    return Polluted(written([header, *bad]).encode(), header, good, lost=2)


def row_names(random: Random, header: list[str], rows: Rows) -> Polluted:
    """R's, in a first field for which the header has no name; by commas or blanks."""
    delimiter = random.choice(", ")
    named = [[str(i + 1), *row] for i, row in enumerate(rows)]
    text = written([header], delimiter, quoting=csv.QUOTE_ALL) + written(named, delimiter, quoting=csv.QUOTE_ALL)
    return Polluted(text.encode(), ["row_names", *header], named)


def no_header(random: Random, header: list[str], rows: Rows) -> Polluted:
    """Records from the first line on."""
    return Polluted(written(rows).encode(), None, rows)


def units(random: Random, header: list[str], rows: Rows) -> Polluted:
    """A second line of the header."""
    if not {"load", "temperature", "count_2023"} & {*header}:
        header, rows = ["load", *header], [[FIELDS["load"](random), *row] for row in rows]
    of = {"load": "kW", "temperature": "°C", "count_2023": "pieces"}
    below = [of.get(name, random.choice(("", "text"))) for name in header]
    return Polluted(written([header, below, *rows]).encode(), header, rows, lost=1)


POLLUTIONS: tuple[Callable[[Random, list[str], Rows], Polluted], ...] = (
    another_delimiter,
    blanks_as_delimiter,
    another_quote,
    another_escape,
    line_ends,
    lines_in_fields,
    legacy_encoding,
    wide_encoding,
    byte_order_mark,
    stated_delimiter,
    comments,
    titles,
    annotations,
    footer,
    trailing_delimiters,
    blank_lines,
    repeated_header,
    ragged_rows,
    row_names,
    no_header,
    units,
)
