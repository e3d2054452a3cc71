"""Keys that stand in a JSON object twice, of which a reader silently takes the last.

Readers give no sign of them, but every key is followed by a colon: as many colons as keys leave none to stand twice.
"""

import json
import re
from collections import Counter
from typing import Any

RECORDS = "records"
_APART = re.compile(rb'"[ \t\n\r]+:')


class _Doubled(dict[str, Any]):
    """An object, and the first of its keys that stands in it twice."""

    key: str


def may_repeat(content: bytes, keys: int) -> bool:
    """Whether a key may stand twice in an object of a JSON text in which so many keys were read.

    Where texts hold colons as well, only colons after a quote count; one after a quote and blanks leaves a doubt.
    """
    if content.count(b":") <= keys:
        return False
    return content.count(b'":') > keys or _APART.search(content) is not None


def count_keys(value: Any) -> int:
    """At most the number of keys that a value of JSON holds: lists that begin with no object are not looked into."""
    if type(value) is dict:
        return len(value) + sum(count_keys(inner) for inner in value.values() if type(inner) in (dict, list))
    if type(value) is list and value and type(value[0]) is dict:
        return sum(map(count_keys, value))
    return 0


def repeated_key(content: bytes) -> tuple[int | None, str] | None:
    """The first key that stands in an object of a JSON text twice, and the number of the record, if it is one's."""
    doubled: list[_Doubled] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) == len(pairs):
            return fields
        twice = _Doubled(fields)
        twice.key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        doubled.append(twice)
        return twice

    try:
        value = json.loads(content, object_pairs_hook=keep)
    except (ValueError, RecursionError):  # it was read by another reader, which takes some things that this one refuses
        return None
    if not doubled:
        return None
    records = value.get(RECORDS) if isinstance(value, dict) else None
    for row, record in enumerate(records if isinstance(records, list) else []):
        if isinstance(record, _Doubled):
            return row, record.key
    return None, doubled[0].key
