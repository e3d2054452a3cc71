"""What an output was made of: the plan by which it is continued, and the manifest that says that it is complete."""

import shutil
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

import kilter
from kilter.service.detector import Detector, KilterError
from kilter.service.formats.counting import ScoredInput, Tally
from kilter.service.formats.inputs import ScoringInput, Target
from kilter.service.formats.partial import compare_plans, write_whole
from kilter.service.formats.source import STDIN
from kilter.service.formats.writers import check_output

SUCCESS, PARTIAL = "_SUCCESS", "_partial"


def plan_of(detector: Detector, inputs: Sequence[ScoringInput], options: Mapping[str, Any]) -> dict[str, Any]:
    """What decides every byte of an output: the version of Kilter, the model, the inputs and the options.

    An input counts as the same while its name, size and time of change are.
    """
    model = {
        "name": detector.name,
        "version": detector.version,
        "sha256": sha256(msgspec.json.encode(detector.manifest)).hexdigest(),
    }
    return {"kilter": kilter.__version__, "model": model, "inputs": [*map(_facts, inputs)], "options": dict(options)}


def _facts(one: ScoringInput) -> dict[str, Any]:
    if str(one.path) == STDIN or not one.path.is_file():
        return {"name": one.name}
    stat = one.path.stat()
    return {"name": one.name, "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}


def progress_folder(target: Target) -> Path:
    """Where an output is made before it is complete."""
    if target.folder is not None:
        return target.folder / (PARTIAL if target.shard is None else f"{PARTIAL}-{target.shard}")
    path = target.files[0].path.resolve()
    return path.with_name(f".{path.name}.partial")


def success_file(target: Target) -> Path:
    """Where it is said that an output is complete: in its folder, or beside the file."""
    if target.folder is not None:
        return target.folder / (SUCCESS if target.shard is None else f"{SUCCESS}-{target.shard}")
    path = target.files[0].path
    return path.with_name(f"{path.name}.success")


def check_destination(target: Target, inputs: Sequence[ScoringInput], *, force: bool, resume: bool) -> None:
    """Raise KilterError if the output must not be written: it is an input, is there already, or has no folder."""
    started = resume and progress_folder(target).is_dir()
    if force or started:
        success_file(target).unlink(missing_ok=True)
    if target.folder is None:
        for one in inputs:
            check_output(target.files[0].path, one.path, force=force or started)
        return
    if not target.folder.absolute().parent.is_dir():
        raise KilterError(f"there is no folder {target.folder.absolute().parent} to make {target.folder.name} in")
    if target.folder.exists() and not target.folder.is_dir():
        raise KilterError(f"{target.folder} is a file: name a folder for the verdicts on several files")
    for file in target.files:
        for place in file.inputs:
            if file.path.exists() and file.path.samefile(inputs[place].path):
                raise KilterError(f"{file.path} is a file that is read: write the verdicts to another folder")
    whole = target.shard is None
    own = (
        target.folder.iterdir() if whole and target.folder.is_dir() else [success_file(target), target.folder / SUCCESS]
    )
    own = own if whole else [*own, *(file.path for file in target.files)]
    if any(path.exists() for path in own) and not (force or started):
        raise KilterError(
            f"{target.folder} holds files already: choose another folder, continue with --resume what was killed, or "
            "write to it with --force"
        )


def write_success(target: Target, made: Mapping[str, Any], inputs: Sequence[ScoredInput], tally: Tally) -> None:
    """Say that an output is complete, what it was made of, and what was counted."""
    outputs = [file.path for file in target.files for _ in file.inputs]
    scored = [
        msgspec.structs.asdict(one)
        | {"output": (path.relative_to(target.folder) if target.folder else Path(path.name)).as_posix()}
        for one, path in zip(inputs, outputs, strict=True)
    ]
    content = {
        "made": made,
        "records": tally.records,
        "anomalies": tally.anomalies,
        "errors": tally.errors,
        "first_error": tally.first_error,
        "inputs": scored,
    }
    write_whole(success_file(target), msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")


def merge_shards(folder: Path) -> tuple[int, int, int]:
    """Say that a folder is complete, once all its shards are: its records, anomalies and errors.

    Raises KilterError if one is not, or they are of different runs.
    """
    places = {path.name.removeprefix(f"{SUCCESS}-"): path for path in sorted(folder.glob(f"{SUCCESS}-*-of-*"))}
    if not places:
        raise KilterError(f"{folder} has no shards that are complete: each leaves {SUCCESS}-I-of-N")
    of = {name.rpartition("-")[2] for name in places}
    if len(of) > 1:
        raise KilterError(f"{folder} has shards of different runs, of {' and of '.join(sorted(of))}: score it again")
    absent = [
        name for name in (f"{i}-of-{count}" for count in map(int, of) for i in range(count)) if name not in places
    ]
    if absent:
        raise KilterError(f"{folder} lacks the shard {absent[0]}, and {len(absent) - 1} more: run it, with --resume")
    said = [msgspec.json.decode(path.read_bytes()) for path in places.values()]
    for one in said[1:]:
        compare_plans(said[0]["made"], one["made"], str(folder))
    order = {one["name"]: place for place, one in enumerate(said[0]["made"]["inputs"])}
    inputs = sorted((one for part in said for one in part["inputs"]), key=lambda one: order[one["name"]])
    gone = [one["output"] for one in inputs if not (folder / one["output"]).is_file()]
    if gone or len(inputs) != len(order):
        raise KilterError(f"{folder} lacks {gone[0] if gone else 'files'}: score it again with --force")
    counts = {key: sum(part[key] for part in said) for key in ("records", "anomalies", "errors")}
    error = next((part["first_error"] for part in said if part["first_error"]), "")
    content = {"made": said[0]["made"], **counts, "first_error": error, "inputs": inputs}
    write_whole(folder / SUCCESS, msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
    for path in places.values():
        path.unlink()
    return counts["records"], counts["anomalies"], counts["errors"]


def finished_run(target: Target, made: Mapping[str, Any]) -> tuple[int, int, int, str] | None:
    """Records, anomalies, errors and the first error of an output that is complete; None if it is not.

    Raises KilterError if it was made in another way.
    """
    place = success_file(target)
    if not place.exists() or not all(file.path.exists() for file in target.files):
        return None
    try:
        said = msgspec.json.decode(place.read_bytes())
        compare_plans(said["made"], made, str(target.folder or target.files[0].path))
        shutil.rmtree(progress_folder(target), ignore_errors=True)
        return said["records"], said["anomalies"], said["errors"], said["first_error"]
    except (msgspec.DecodeError, KeyError, TypeError):
        raise KilterError(f"{place} does not say what the output was made of: begin again with --force") from None
