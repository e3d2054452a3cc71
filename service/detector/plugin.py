"""Entries of the registries, by which modalities, networks and scores are added: a class, or the place of one.

A place is `package.module:Class`, and is imported when it is first used, so that reading a registry costs nothing.
"""

from importlib import import_module
from typing import TypeVar, cast

Plugin = TypeVar("Plugin")


def imported(entry: str | type[Plugin]) -> type[Plugin]:
    """The class of an entry."""
    if not isinstance(entry, str):
        return entry
    module, _, attribute = entry.partition(":")
    return cast("type[Plugin]", getattr(import_module(module), attribute))
