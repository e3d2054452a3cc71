"""Looks at the models folder now and then, and lets what is new there serve, or be in the shadow of what does."""

import logging
import threading
from collections.abc import Mapping
from functools import partial
from typing import Self

from kilter.service.detector import store
from kilter.service.models.loading import Loader, Look, look_at

log = logging.getLogger(__name__)

LATEST = "latest"
Shadows = Mapping[str, int | None]
"""By a model's name the version that is to be in its shadow; None for the highest while a lower one is pinned."""


class Watch:
    """A thread that polls: it works on any volume, those of Kubernetes, which swap links, included."""

    def __init__(self, loader: Loader, seconds: float, shadows: Shadows) -> None:
        """Look every so many seconds, or once, for the shadows alone, where these are 0."""
        self._loader = loader
        self._seconds = seconds
        self._shadows = shadows
        self._before: dict[str, Look | None] = {}
        self._cast: dict[str, Look] = {}
        """By model how the version looked that was last put in its shadow, or failed to be."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                if self._seconds:
                    self.poll()
                self.cast()
            except Exception:  # whatever it is, the next look may be luckier
                log.exception("watching failed")
            if not self._seconds or self._stopping.wait(self._seconds):
                return

    def poll(self) -> None:
        """Load what has changed, once it looks the same twice: a version may be on its way still.

        What failed is tried again when it has changed once more.
        """
        loader = self._loader
        for name in sorted({*store.models(loader.folder), *loader.registry.names} - loader.unloaded):
            look = look_at(loader.folder / name)
            before, self._before[name] = self._before.get(name), look
            if look == loader.seen.get(name) or look != before:
                continue
            if look is None:
                loader.seen[name] = None
                log.warning("model gone from the folder: it goes on serving", extra={"fields": {"model": name}})
            else:
                loader.try_to(partial(loader.load, name))

    def cast(self) -> None:
        """Put the versions that are wished for in the shadow of those that serve, anew when they look different."""
        for name, wished in self._shadows.items():
            serving = self._loader.registry.get(name)
            folder = self._loader.folder / name
            version = wished or max(store.versions(folder), default=0)
            if serving is None or version <= 0 or version == serving.detector.version:
                continue
            if wished is None and version < serving.detector.version:
                continue
            look = look_at(folder, version)
            if look is not None and look != self._cast.get(name):
                self._cast[name] = look
                self._loader.try_to(partial(self._loader.cast, name, version))


def shadows_of(setting: str | None) -> Shadows:
    """What `name=version,...` says; a version is a number or `latest`."""
    wishes = (wish.partition("=") for wish in (setting or "").split(",") if wish)
    return {name: None if version == LATEST else int(version) for name, _, version in wishes}
