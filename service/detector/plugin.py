"""Entries of the registries: a class, or its place, `pipeline.module:Class`, which is imported at its first use."""

from pkgutil import resolve_name
from typing import TypeVar, cast

Plugin = TypeVar("Plugin")


def imported(entry: str | type[Plugin]) -> type[Plugin]:
    """The class of an entry."""
    return cast("type[Plugin]", resolve_name(entry)) if isinstance(entry, str) else entry
