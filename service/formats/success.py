"""What an output was made of: the plan by which it is continued, and the manifest that says that it is complete."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

import kilter
from kilter.service.detector import Detector, KilterError
from kilter.service.formats.addresses import Address, Place
from kilter.service.formats.checkpoints import FinishedPart
from kilter.service.formats.contents import ContentRead
from kilter.service.formats.counting import ScoredInput, Tally
from kilter.service.formats.inputs import ScoringInput, Target
from kilter.service.formats.markers import RemoteMarker
from kilter.service.formats.partial import Contents, Progress, compare_plans
from kilter.service.formats.pictures import find_pictures
from kilter.service.formats.provenance import read_content
from kilter.service.formats.rejects import reject_file
from kilter.service.formats.sharing import SharedInput
from kilter.service.formats.source import STDIN
from kilter.service.formats.whole_files import sync_folder, write_whole
from kilter.service.formats.writers import check_output, same_file

SUCCESS, PARTIAL, PARTS = "_SUCCESS", "_partial", "_parts"
TIME = "modified_ns"
"""What a plan calls the time of change of an input."""


def plan_of(detector: Detector, inputs: Sequence[ScoringInput], options: Mapping[str, Any]) -> dict[str, Any]:
    """What decides every byte of an output: the version of Kilter, the model, the inputs and the options."""
    model = {
        "name": detector.name,
        "version": detector.version,
        "sha256": sha256(msgspec.json.encode(detector.manifest)).hexdigest(),
    }
    return {"kilter": kilter.__version__, "model": model, "inputs": [*map(_facts, inputs)], "options": dict(options)}


def _facts(one: ScoringInput) -> dict[str, Any]:
    if isinstance(one.path, Address):
        facts = one.path.facts()
        return {"name": one.name, "bytes": facts.size, TIME: facts.stamp}
    if one.path.is_dir():
        pictures = [one.path / name for name in find_pictures(one.path).pictures]
        stats = [picture.stat() for picture in pictures if picture.is_file()]
        times = msgspec.json.encode([stat.st_mtime_ns for stat in stats])
        size = sum(stat.st_size for stat in stats)
        return {"name": one.name, "bytes": size, TIME: sha256(times).hexdigest()}
    if str(one.path) == STDIN or not one.path.is_file():
        return {"name": one.name}
    stat = one.path.stat()
    return {"name": one.name, "bytes": stat.st_size, TIME: stat.st_mtime_ns}


@dataclass(frozen=True)
class InputCheck:
    """Tells of inputs that have another time of change than before whether their content is that of before."""

    inputs: Sequence[ScoringInput]
    order: Sequence[int]
    """The places of those that are read, in the order in which they are."""
    twice: bool = False
    """Whether all were read a first time, so that what is written depends on those, too, that are still to be read."""

    def __call__(
        self,
        before: Mapping[str, Any],
        now: Mapping[str, Any],
        known: Contents,
        shared: Contents = MappingProxyType({}),
    ) -> dict[str, Any]:
        """The plan of now, with the time that an input had before wherever that makes no difference.

        `known` is what was read before of inputs, by their place in `order`, and `shared` of others, by their own.
        Raises KilterError if one is another now.
        """
        contents = {self.order[place]: content for place, content in known.items()} | dict(shared)
        facts = [*now["inputs"]]
        for place, (earlier, fact) in enumerate(zip(before.get("inputs", ()), facts, strict=False)):
            alike = earlier == {**fact, TIME: earlier.get(TIME)}
            if alike and (earlier != fact or fact.get(TIME) == "") and self._is_same(place, contents):
                facts[place] = earlier
        return {**now, "inputs": facts}

    def _is_same(self, place: int, contents: Mapping[int, ContentRead]) -> bool:
        """Whether it makes no difference that an input was changed at another time; False if that is not known."""
        if place not in contents:
            return not self.twice
        content, one = contents[place], self.inputs[place]
        if not content.sha256:
            return False
        try:
            same = read_content(one.path, content.bytes) == content
        except OSError as error:
            raise KilterError(f"{one.path} cannot be read: {error.strerror or error}") from None
        if same:
            return True
        raise KilterError(
            f"{one.name} is not the file that was read before: it was changed since, and its first {content.bytes:,} "
            "bytes have another SHA-256. Leave --resume out, to begin again, or write to another place"
        )


def progress_folder(target: Target) -> Path:
    """Where an output is made before it is complete."""
    marker = marker_of(target)
    if marker is not None:
        name = f"kilter-{os.getuid()}-{sha256(str(marker.address).encode()).hexdigest()[:24]}"
        return Path(tempfile.gettempdir()) / name
    if isinstance(target.folder, Path):
        return target.folder / _partial_name(target)
    path = Path(str(target.files[0].path)).resolve()
    return path.with_name(f".{path.name}.partial")


def marker_of(target: Target) -> RemoteMarker | None:
    """What stands beside an output at an address before it is complete; None of one on this machine."""
    if not isinstance(target.place, Address):
        return None
    if isinstance(target.folder, Address):
        return RemoteMarker(target.folder / _partial_name(target))
    return RemoteMarker(target.place.with_name(f".{target.place.name}.partial"))


def _partial_name(target: Target) -> str:
    return PARTIAL if target.shard is None else f"{PARTIAL}-{target.shard}"


def success_file(target: Target) -> Place:
    """Where it is said that an output is complete: in its folder, or beside the file."""
    if target.folder is not None:
        return target.folder / (SUCCESS if target.shard is None else f"{SUCCESS}-{target.shard}")
    path = target.files[0].path
    return path.with_name(f"{path.name}.success")


def check_destination(target: Target, inputs: Sequence[ScoringInput], *, force: bool, resume: bool) -> None:
    """Raise KilterError if the output must not be written: it is an input, is there already, or has no folder."""
    marker = marker_of(target)
    started = resume and (progress_folder(target).is_dir() or (marker is not None and marker.address.exists()))
    rejects = reject_file(target)
    if target.reject is not None:
        for one in inputs:
            check_output(target.reject, one.path, force=force or started)
    if force or started:
        success_file(target).unlink(missing_ok=True)
        if target.folder is not None:
            (target.folder / SUCCESS).unlink(missing_ok=True)
    if target.folder is None:
        for one in inputs:
            check_output(target.files[0].path, one.path, force=force or started)
        return
    if isinstance(target.folder, Path) and not target.folder.absolute().parent.is_dir():
        raise KilterError(f"there is no folder {target.folder.absolute().parent} to make {target.folder.name} in")
    if target.folder.exists() and not target.folder.is_dir():
        raise KilterError(f"{target.folder} is a file: name a folder for the verdicts on several files")
    for file in target.files:
        for place in file.inputs:
            if same_file(file.path, inputs[place].path):
                raise KilterError(f"{file.path} is a file that is read: write the verdicts to another folder")
    whole = target.shard is None
    if isinstance(target.folder, Address) and whole:
        held = target.folder.is_dir()
    elif isinstance(target.folder, Path) and whole:
        held = target.folder.is_dir() and any(target.folder.iterdir())
    else:
        own = [success_file(target), target.folder / SUCCESS, *(file.path for file in target.files)]
        own += [parts_folder(target)] if isinstance(target.folder, Path) else []
        held = any(path.exists() for path in [*own, *([rejects] if rejects else [])])
    if held and not (force or started):
        raise KilterError(
            f"{target.folder} holds files already: choose another folder, continue with --resume what was killed, or "
            "write to it with --force"
        )
    if target.shard is not None and isinstance(target.folder, Path) and not started:
        shutil.rmtree(parts_folder(target), ignore_errors=True)


class PartLine(msgspec.Struct, frozen=True):
    """What a shard says of a part that it leaves to be put together with others."""

    input: str
    """The name of its input, of which there are so many parts."""
    of: int
    output: str
    """The path in the folder of what they become."""
    part: FinishedPart


def parts_folder(target: Target) -> Path:
    """Where a shard leaves its parts. Raises TypeError if they are not in a folder of this machine."""
    if not isinstance(target.folder, Path):
        raise TypeError("there are no parts")
    return target.folder / f"{PARTS}-{target.shard}"


def publish_parts(target: Target, progress: Progress) -> list[FinishedPart]:
    """The parts of a shard, which get their names, and all at once their place, if they have it not yet."""
    parts = [*progress.parts.values()]
    if not parts or (place := parts_folder(target)).exists():
        return parts
    named = progress.folder / PARTS
    named.mkdir(exist_ok=True)
    for name, part in progress.parts.items():
        own = progress.folder / part.folder
        if own.exists():
            own.replace(named / name)
    sync_folder(named)
    named.replace(place)
    sync_folder(place.parent)
    return parts


def write_success(
    target: Target,
    made: Mapping[str, Any],
    inputs: Sequence[ScoredInput],
    tally: Tally,
    shared: Mapping[int, SharedInput] = MappingProxyType({}),
    parts: Sequence[FinishedPart] = (),
) -> None:
    """Say that an output is complete, what it was made of, and what was counted; a shard also which parts it leaves."""
    outputs = [file.path for file in target.files for _ in file.inputs]
    scored = [
        msgspec.structs.asdict(one) | {"output": _name_in(target, path)}
        for one, path in zip(inputs, outputs, strict=True)
    ]
    lines = [
        PartLine(one.source.name, len(one.ranges), _name_in(target, one.output.path), part)
        for part in parts
        for one in (shared[part.place],)
    ]
    content = {
        "made": made,
        "records": tally.records,
        "anomalies": tally.anomalies,
        "errors": tally.errors,
        "first_error": tally.first_error,
        "inputs": scored,
        **({"parts": lines} if lines else {}),
    }
    write_whole(success_file(target), msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")


def _name_in(target: Target, path: Place) -> str:
    return str(path).removeprefix(f"{str(target.folder).rstrip('/')}/") if target.folder else path.name


def finished_run(
    target: Target, made: Mapping[str, Any], check: InputCheck | None = None
) -> tuple[int, int, int, str] | None:
    """Records, anomalies, errors and the first error of an output that is complete; None if it is not.

    Raises KilterError if it was made in another way.
    """
    place, rejects = success_file(target), reject_file(target)
    if not place.exists():
        return None
    try:
        said = msgspec.json.decode(place.read_bytes())
        parts = msgspec.convert(said.get("parts", []), list[PartLine])
        if not all(path.exists() for path in _said_outputs(target, said, parts)):
            return None
        if said["inputs"] and rejects is not None and not rejects.exists():
            return None
        if check is not None:
            places = {one.name: place for place, one in enumerate(check.inputs)}
            order = check.order if target.shard is None else [places.get(one["name"], -1) for one in said["inputs"]]
            known = {place: ContentRead(one["bytes"], one["sha256"]) for place, one in enumerate(said["inputs"])}
            shared = {line.part.place: line.part.content for line in parts}
            made = replace(check, order=order)(said["made"], made, known, shared)
        compare_plans(said["made"], made, str(target.place))
        shutil.rmtree(progress_folder(target), ignore_errors=True)
        error = said["first_error"] or next((one.part.tally.first_error for one in parts if one.part.tally.errors), "")
        return said["records"], said["anomalies"], said["errors"], error
    except (msgspec.DecodeError, KeyError, TypeError):  # a msgspec.ValidationError is a DecodeError
        raise KilterError(f"{place} does not say what the output was made of: begin again with --force") from None


def _said_outputs(target: Target, said: Mapping[str, Any], parts: Iterable[PartLine]) -> list[Place]:
    """What an output consists of; of a shard its files and its parts."""
    if target.shard is None or target.folder is None:
        return [file.path for file in target.files]
    whole = [target.folder / one["output"] for one in said["inputs"]]
    return [*whole, *(parts_folder(target) / one.part.name for one in parts)]
