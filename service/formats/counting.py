"""What is counted of records that are scored."""

import msgspec


class ScoredInput(msgspec.Struct, frozen=True):
    """An input of which all is judged."""

    name: str
    bytes: int
    sha256: str
    """Empty where nobody looks for it."""
    records: int = 0
    anomalies: int = 0
    errors: int = 0


class Tally(msgspec.Struct, frozen=True):
    """What was counted of some records."""

    records: int = 0
    anomalies: int = 0
    errors: int = 0
    first_error: str = ""
    tested: int = 0
    known: int = 0
    blamed: dict[str, int] = {}
    """How often each field is the first reason of a flagged record."""


def added_tally(tally: Tally, other: Tally) -> Tally:
    """What was counted of some records and of others that come after them."""
    return Tally(
        tally.records + other.records,
        tally.anomalies + other.anomalies,
        tally.errors + other.errors,
        tally.first_error or other.first_error,
        tally.tested + other.tested,
        tally.known + other.known,
        {name: tally.blamed.get(name, 0) + other.blamed.get(name, 0) for name in {**tally.blamed, **other.blamed}},
    )


def lessened_tally(tally: Tally, last: Tally) -> Tally:
    """What was counted of all records but the last ones."""
    blamed = {name: count - last.blamed.get(name, 0) for name, count in tally.blamed.items()}
    return Tally(
        tally.records - last.records,
        tally.anomalies - last.anomalies,
        tally.errors - last.errors,
        tally.first_error if tally.errors > last.errors else "",
        tally.tested - last.tested,
        tally.known - last.known,
        {name: count for name, count in blamed.items() if count},
    )


def counted_input(name: str, size: int, sha256: str, tally: Tally) -> ScoredInput:
    """What is said of an input of so many bytes, by what was counted of it."""
    return ScoredInput(name, size, sha256, tally.records, tally.anomalies, tally.errors)
