"""Shards of a run that are complete become what one run makes: parts are put together, and `_SUCCESS` comes last."""

import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from kilter.service.detector import KilterError
from kilter.service.formats.addresses import Place
from kilter.service.formats.counting import counted_input
from kilter.service.formats.partial import REJECTS, compare_plans
from kilter.service.formats.rejects import REJECTED, merge_rejects
from kilter.service.formats.sharing import join_parts, tally_of
from kilter.service.formats.success import PARTS, SUCCESS, PartLine
from kilter.service.formats.whole_files import whole_file, write_whole


def merge_shards(folder: Place) -> tuple[int, int, int]:
    """Say that a folder is complete, once all its shards are: its records, anomalies and errors.

    Raises KilterError if one is not, or they are of different runs. What was merged already is left.
    """
    complete: list[Place] = [*folder.glob(f"{SUCCESS}-*-of-*")]
    places = {path.name.removeprefix(f"{SUCCESS}-"): path for path in sorted(complete, key=str)}
    if (folder / SUCCESS).is_file():
        said = msgspec.json.decode((folder / SUCCESS).read_bytes())
        _clean(folder, places)
        return said["records"], said["anomalies"], said["errors"]
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
    said = {name: msgspec.json.decode(path.read_bytes()) for name, path in places.items()}
    made = next(iter(said.values()))["made"]
    for one in said.values():
        compare_plans(made, one["made"], str(folder))
    order = {one["name"]: place for place, one in enumerate(made["inputs"])}
    parts = _parts(folder, said)
    inputs = [one for part in said.values() for one in part["inputs"]]
    inputs += [_input(name, several) for name, several in parts.items()]
    inputs.sort(key=lambda one: order[one["name"]])
    gone = [one["output"] for one in inputs if one["name"] not in parts and not (folder / one["output"]).is_file()]
    if gone or len(inputs) != len(order):
        raise KilterError(f"{folder} lacks {gone[0] if gone else 'files'}: score it again with --force")
    reject = made["options"].get("reject")
    if reject is not None:
        whole = [folder / f"{REJECTED}-{name}" for name, part in said.items() if part["inputs"]]
        if any(not path.is_file() for path in whole):
            raise KilterError(f"{folder} lacks the records in error of a shard, {REJECTED}-I-of-N: score it again")
        of_parts = [place / REJECTS for name in sorted(parts, key=order.__getitem__) for place, _ in parts[name]]
        merge_rejects(folder, whole, of_parts, order, reject)
    for several in parts.values():
        output = folder / several[0][1].output
        if isinstance(output, Path):
            output.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(output) as file:
            join_parts(output, [place for place, _ in several], [line.part for _, line in several], file)
    errors = [_first_error(part, order) for part in said.values()]
    errors += [
        (order[name], tally_of([line.part for _, line in several]).first_error) for name, several in parts.items()
    ]
    counts = {key: sum(part[key] for part in said.values()) for key in ("records", "anomalies", "errors")}
    error = next((text for _, text in sorted(errors) if text), "")
    content = {"made": made, **counts, "first_error": error, "inputs": inputs}
    write_whole(folder / SUCCESS, msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
    _clean(folder, places)
    return counts["records"], counts["anomalies"], counts["errors"]


def _clean(folder: Place, places: Mapping[str, Place]) -> None:
    """Remove what shards left, once it is said that all is complete."""
    if isinstance(folder, Path):
        for path in folder.glob(f"{PARTS}-*-of-*"):
            shutil.rmtree(path)
    for path in (*folder.glob(f"{REJECTED}-*-of-*"), *places.values()):
        path.unlink()


def _parts(folder: Place, said: Mapping[str, Any]) -> dict[str, list[tuple[Path, PartLine]]]:
    """The parts of all shards, in order, with their folders, by the names of their inputs.

    Raises KilterError if one is not there.
    """
    parts: dict[str, list[tuple[Path, PartLine]]] = defaultdict(list)
    for name, one in said.items():
        for line in msgspec.convert(one.get("parts", []), list[PartLine]):
            parts[line.input].append((Path(str(folder)) / f"{PARTS}-{name}" / line.part.name, line))
    for name, several in parts.items():
        several.sort(key=lambda one: one[1].part.range.number)
        numbers = [line.part.range.number for _, line in several]
        alike = len({(line.of, line.part.content) for _, line in several}) == 1
        if not alike or numbers != [*range(several[0][1].of)] or not all(place.is_dir() for place, _ in several):
            raise KilterError(
                f"{folder} lacks parts of {name}, or has parts of another one: score it again with --force"
            )
    return dict(parts)


def _input(name: str, parts: Sequence[tuple[Path, PartLine]]) -> dict[str, Any]:
    """What is said of an input of which there are parts."""
    _, line = parts[0]
    tally, content = tally_of([line.part for _, line in parts]), line.part.content
    scored = counted_input(name, content.bytes, content.sha256, tally)
    return msgspec.structs.asdict(scored) | {"output": line.output}


def _first_error(shard: Mapping[str, Any], order: Mapping[str, int]) -> tuple[int, str]:
    """The first error of those files that a shard made whole, with the place of its input; an empty text for none."""
    wrong = [order[one["name"]] for one in shard["inputs"] if one["errors"]]
    return (min(wrong), shard["first_error"]) if wrong else (0, "")
