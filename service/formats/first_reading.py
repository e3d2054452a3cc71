"""What has to be known of all records before any of them is written: a first reading of the inputs."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from kilter.service.detector import Detector, KilterError
from kilter.service.detector.arrays import Floats, Positions
from kilter.service.formats.addresses import Place
from kilter.service.formats.discoveries import Discoveries, find_discoveries
from kilter.service.formats.inputs import ScoringInput
from kilter.service.formats.opening import open_records
from kilter.service.formats.reading import Block, read_batch
from kilter.service.formats.sharing import SharedInput
from kilter.service.formats.source import NO_HINTS, STDIN, Hints
from kilter.service.formats.threads import Map
from kilter.service.formats.workplaces import Cluster, SourceFacts, Workplace, check_seen, facts_of
from kilter.service.formats.writers import STDOUT


def find_top(
    detector: Detector,
    paths: Sequence[Place],
    out: str | Place,
    count: int,
    hints: Hints = NO_HINTS,
    mapped: Map = map,
    cluster: Cluster | None = None,
    shared: Mapping[int, SharedInput] = MappingProxyType({}),
) -> dict[int, Positions]:
    """Read files a first time, to know the places of the records that score highest, by the place of their file.

    Of equal scores the first count. Raises KilterError if a file cannot be read twice, or `out` is no file.
    """
    _check_twice("--top", paths, out)
    best = np.empty((0, 3))  # the score, the file and the place of each
    if cluster is None:
        for some in mapped(lambda task: _scores(detector, *task, count), _blocks(detector, paths, hints)):
            best = highest(np.concatenate([best, some]), count)
    else:
        sources = _sources(paths, hints, shared)
        several = dict(cluster.run(partial(_scores_of_file, count=count), sources))
        for number, source in enumerate(sources):
            rows = np.insert(several[number], 1, source.place, axis=1)
            best = highest(np.concatenate([best, rows]), count)
    return {place: np.sort(best[best[:, 1] == place, 2]).astype(np.int64) for place in range(len(paths))}


def highest(rows: Floats, count: int) -> Floats:
    """The `count` rows, (n, columns), of the largest first number, of equal ones the first, largest first."""
    kept: Floats = rows[np.argsort(-rows[:, 0], kind="stable")[:count]]
    return kept


def discover(
    detector: Detector,
    paths: Sequence[Place],
    out: str | Place,
    fdr: float,
    hints: Hints = NO_HINTS,
    mapped: Map = map,
    cluster: Cluster | None = None,
    shared: Mapping[int, SharedInput] = MappingProxyType({}),
) -> Discoveries:
    """Read files a first time, to know what is declared in all of them together at a false-discovery rate.

    Raises KilterError if one cannot be read twice, or `out` is no file: nothing may be written before all is read.
    """
    if not 0 < fdr < 1:
        raise KilterError(f"a false-discovery rate is between 0 and 1, like 0.05; not {fdr:g}")
    _check_twice("a false-discovery rate", paths, out)
    calibrations = (detector.calibration, *(detector.groups.calibrations.values() if detector.groups else ()))
    counts: Counter[float] = Counter()
    if cluster is None:
        for some in mapped(lambda task: _p_values(detector, task[1]), _blocks(detector, paths, hints)):
            counts.update(some)
    else:
        for _, several in cluster.run(_p_values_of_file, _sources(paths, hints, shared)):
            counts.update(several)
    return find_discoveries(counts, fdr, 1 / (max(calibration.size for calibration in calibrations) + 1))


def _check_twice(what: str, paths: Sequence[Place], out: str | Place) -> None:
    """Raise KilterError, which says what needs it, if files cannot be read twice, or are written before that."""
    if str(out) == STDOUT:
        raise KilterError(f"{what} needs a file to write to, not standard output: name one with -o")
    if any(str(path) == STDIN or (path.exists() and not path.is_file() and not path.is_dir()) for path in paths):
        raise KilterError(f"{what} needs a file that can be read twice, not a stream: save it first")


def _blocks(detector: Detector, paths: Sequence[Place], hints: Hints) -> Iterator[tuple[int, Block]]:
    """The blocks of files, each with the place of its file."""
    for place, path in enumerate(paths):
        with open_records(detector, path, None, hints) as reader:
            yield from ((place, block) for block in reader.blocks())


def _scores(detector: Detector, file: int, block: Block, count: int) -> Floats:
    """(n, 3): the highest scores of a block, the place of its file, and those of the records."""
    batch = block.read()
    table = read_batch(detector.schema, batch)
    score = detector.score(table, errors="mark").score if table.rows else np.empty(0)
    rows = np.stack([score, np.full(len(score), file), batch.first + np.arange(len(score))], axis=1)
    return highest(rows[~np.isnan(score)], count)


def _p_values(detector: Detector, block: Block) -> Counter[float]:
    table = read_batch(detector.schema, block.read())
    values = detector.score(table, errors="mark").p_value if table.rows else np.empty(0)
    return Counter(values[~np.isnan(values)].tolist())


class _Source(NamedTuple):
    """A file, or the range of it that is in the hints."""

    place: int
    facts: SourceFacts
    hints: Hints


def _sources(paths: Sequence[Place], hints: Hints, shared: Mapping[int, SharedInput]) -> list[_Source]:
    """All files, large ones range by range, in order."""
    return [
        _Source(place, facts_of(ScoringInput(path, path.name)), hints._replace(part=part))
        for place, path in enumerate(paths)
        for part in (shared[place].ranges if place in shared else (None,))
    ]


def _scores_of_file(workplace: Workplace, source: _Source, count: int) -> Floats:
    """(n, 2): the highest scores of a file, and the places of the records."""
    check_seen(workplace, source.facts)
    best = np.empty((0, 3))
    for place, block in _blocks(workplace.detector, [source.facts.path], source.hints):
        workplace.check()
        best = highest(np.concatenate([best, _scores(workplace.detector, place, block, count)]), count)
    return best[:, [0, 2]]


def _p_values_of_file(workplace: Workplace, source: _Source) -> Counter[float]:
    check_seen(workplace, source.facts)
    counts: Counter[float] = Counter()
    for _, block in _blocks(workplace.detector, [source.facts.path], source.hints):
        workplace.check()
        counts.update(_p_values(workplace.detector, block))
    return counts
