"""Loads versions from the models folder into the registry, and watches the folder for changes."""

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from kilter.service.detector import Detector, KilterError, load, store
from kilter.service.models.registry import NotThereError, RefusedError, Registry, Serving
from kilter.service.models.shadow import ShadowPair

log = logging.getLogger(__name__)
Placed = TypeVar("Placed")
LATEST = "latest"
Shadows = Mapping[str, int | None]
"""By a model's name the version that is to be in its shadow; None for the highest while a lower one is pinned."""


class FolderState(NamedTuple):
    """The files of a version in a model's folder, by which a change is noticed."""

    version: int | None
    """None if it is not clear which one is to serve."""
    files: tuple[tuple[str | int, ...], ...]
    """Name, inode, time of change and size of each, or why there are none."""


class VersionState(NamedTuple):
    """A version of the folder, and whether it is loaded."""

    name: str
    version: int
    loaded: bool
    why: str
    """Why it is not; empty where nothing went wrong."""


class Loader:
    """Loads one version after the other, on any thread; a failure leaves what serves as it is."""

    def __init__(self, registry: Registry, folder: Path, device: str) -> None:
        self.registry = registry
        self.folder = folder
        self.seen: dict[str, FolderState | None] = {}
        """How the folder of each model looked when it was last loaded, or failed to be."""
        self.unloaded: set[str] = set()
        self._device = device
        self._one_at_a_time = threading.RLock()

    def load_all(self) -> None:
        """Load the serving version of every model; one that fails does not keep others from serving."""
        for name in store.models(self.folder):
            self.attempt(self.load, name)
        if self.registry.why_not_ready is not None:
            self.registry.empty = self._why_empty()

    def load(self, name: str, version: int | None = None) -> Serving:
        """Load the version that the folder has serve, or another one beside it, which is addressed by its number.

        Raises NotThereError, RefusedError if too many are loaded, and KilterError if the version cannot be loaded.
        """
        with self._one_at_a_time:
            look = self.look(name, version)
            if version is not None and version != look.version:
                if self.registry.get(name) is None:
                    raise RefusedError(f"no version of {name} serves: load the model first, without a version")
                self.registry.check_room(name, version)
                return self._placed(name, version, self.registry.put_beside, serving=False)
            self.seen[name] = look
            self.unloaded.discard(name)
            return self._placed(name, look.version, self.registry.place, serving=True)

    def unload(self, name: str, version: int | None = None) -> list[int]:
        """Unload a model until it is loaded by name, or a version beside. Returns and raises as `Registry.remove`."""
        with self._one_at_a_time:
            gone = self.registry.remove(name, version)
            if version is None:
                self.unloaded.add(name)
            log.info("model unloaded", extra={"fields": {"model": name, "versions": gone}})
            return gone

    def cast(self, name: str, version: int) -> ShadowPair:
        """Put a version in the shadow of the one that serves. Raises NotThereError, RefusedError, KilterError."""
        with self._one_at_a_time:
            self.look(name, version)
            self.registry.check_candidate(name, version)
            return self._placed(name, version, self.registry.cast, serving=False)

    def states(self) -> list[VersionState]:
        """Every version of the folder, and every one that is loaded."""
        entries = []
        for name in sorted({*store.models(self.folder), *self.registry.names}):
            loaded = self.registry.versions(name)
            look = look_at_folder(self.folder / name)
            for version in sorted({*loaded, *store.versions(self.folder / name)}):
                why = ""
                if version not in loaded and name in self.unloaded:
                    why = "unloaded"
                elif version not in loaded and look is not None and version == look.version:
                    why = self.registry.failures.get(name, "")
                entries.append(VersionState(name, version, version in loaded, why))
        return entries

    def attempt(self, do: Callable[..., object], *arguments: object) -> None:
        """Call `load` or `cast`; a failure is in the log already."""
        try:
            do(*arguments)
        except KilterError as error:
            log.debug("not done", extra={"fields": {"why": str(error)}})

    def look(self, name: str, version: int | None) -> FolderState:
        """How a model's folder looks. Raises NotThereError if there is no such model, or it has no such version."""
        look = look_at_folder(self.folder / name) if store.NAME.fullmatch(name) else None
        if look is None:
            there = ", ".join(store.models(self.folder)) or "none"
            raise NotThereError(f"there is no model {name[:63]!r} in {self.folder}; there is {there}")
        if version is not None and version not in (versions := store.versions(self.folder / name)):
            raise NotThereError(f"{name} has versions {', '.join(map(str, versions))} in {self.folder}, not {version}")
        return look

    def _placed(self, name: str, version: int | None, place: Callable[[Detector], Placed], *, serving: bool) -> Placed:
        folder = self.folder / name
        try:
            folder /= str(version or store.serving_version(folder))
            detector = load(folder, self._device)
            check_place(folder, detector)
            placed = place(detector)
        except (NotThereError, RefusedError):
            raise
        except Exception as error:  # whatever an artifact brings about is its own fault, and no reason to stop
            why = str(error)
            if not isinstance(error, KilterError | OSError):
                why = f"{folder} cannot be loaded: {type(error).__name__}: {error}"
            self.registry.failed(name, why, serving=serving)
            log.error("model not loaded", extra={"fields": {"model": name, "version": version, "why": why}})  # noqa: TRY400
            raise KilterError(why) from error
        fields = {"model": name, "version": detector.version, "device": detector.device, "serves": serving}
        log.info("model loaded", extra={"fields": fields})
        return placed

    def _why_empty(self) -> str:
        command = f"`kilter train FILE --name NAME --models {self.folder}`"
        if not self.folder.is_dir():
            return f"there is no models folder {self.folder}: make one with {command}"
        if store.versions(self.folder) or (self.folder / "manifest.json").is_file():
            model = self.folder.parent if self.folder.name.isdigit() else self.folder
            return f"{self.folder} is a model, not a folder of models: name its parent, with --models {model.parent}"
        if not self.registry.failures:
            return f"the models folder {self.folder} holds no model: {command} adds one"
        return "\n".join([f"no model in {self.folder} can be loaded", *self.registry.failures.values()])


def look_at_folder(model: Path, version: int | None = None) -> FolderState | None:
    """How the version that is to serve, or another, looks now, behind links as a kubelet has; None without one."""
    try:
        if not store.versions(model):
            return None
        version = version or store.serving_version(model)
        entries = sorted((path.name, path.stat()) for path in (model / str(version)).iterdir())
    except KilterError as error:
        return FolderState(None, ((str(error),),))
    except OSError:
        return None
    return FolderState(version, tuple((name, file.st_ino, file.st_mtime_ns, file.st_size) for name, file in entries))


def check_place(folder: Path, detector: Detector) -> None:
    """Raise KilterError if a model lies in a folder of another name or version."""
    if detector.name != folder.parent.name:
        raise KilterError(f"{folder.parent} holds a model that is called {detector.name}: rename the folder")
    if str(detector.version) != folder.name:
        raise KilterError(f"{folder} holds version {detector.version}: rename the folder")


class Watch:
    """A thread that polls: it works on any volume, those of Kubernetes, which swap links, included."""

    def __init__(self, loader: Loader, seconds: float, shadows: Shadows) -> None:
        """Look every so many seconds; with 0 once, for the shadows alone."""
        self._loader, self._seconds, self._shadows = loader, seconds, shadows
        self._before: dict[str, FolderState | None] = {}
        self._cast: dict[str, FolderState] = {}
        """By model, how the version looked that was last put in its shadow, or failed to be."""
        self._absent: dict[str, str] = {}
        """By model, why its shadow is not there, as the log has it."""
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
        """Load a version that has changed, once it looks the same twice: it may be on its way still."""
        loader = self._loader
        for name in sorted({*store.models(loader.folder), *loader.registry.names} - loader.unloaded):
            look = look_at_folder(loader.folder / name)
            before, self._before[name] = self._before.get(name), look
            if look == loader.seen.get(name) or look != before:
                continue
            if look is None:
                loader.seen[name] = None
                log.warning("model gone from the folder: it goes on serving", extra={"fields": {"model": name}})
            else:
                loader.attempt(loader.load, name)

    def cast(self) -> None:
        """Put the versions of the setting in the shadow of those that serve, anew when they look different."""
        for name, wished in self._shadows.items():
            self._note_absent(name, wished)
            serving = self._loader.registry.get(name)
            folder = self._loader.folder / name
            version = wished or max(store.versions(folder), default=0)
            if serving is None or version == serving.detector.version:
                continue
            if wished is None and version < serving.detector.version:
                continue
            look = look_at_folder(folder, version)
            if look is not None and look != self._cast.get(name):
                self._cast[name] = look
                self._loader.attempt(self._loader.cast, name, version)

    def _note_absent(self, name: str, version: int | None) -> None:
        """Log that a model or version of the setting is not in the folder, once for as long as that is so."""
        try:
            self._loader.look(name, version)
        except NotThereError as error:
            why = f"{error}: correct KILTER_SHADOW, or add it"
            if self._absent.get(name) != why:
                log.error("shadow not there", extra={"fields": {"model": name, "version": version, "why": why}})  # noqa: TRY400
            self._absent[name] = why
        else:
            self._absent.pop(name, None)


def shadows_of(setting: str | None) -> Shadows:
    """What `name=version,...` says; a version is a number or `latest`."""
    wishes = (wish.partition("=") for wish in (setting or "").split(",") if wish)
    return {name: None if version == LATEST else int(version) for name, _, version in wishes}
