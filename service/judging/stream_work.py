"""The work on one stream: the loop of `kilter score` around two pipes, in a thread."""

from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from kilter.service.detector import Verdicts
from kilter.service.detector.arrays import Mask
from kilter.service.detector.inputs import Table, take
from kilter.service.formats.charsets import Readable
from kilter.service.formats.counting import Tally
from kilter.service.formats.encodings import Packer, Unpacker
from kilter.service.formats.inputs import OutputFile, ScoringInput, Target
from kilter.service.formats.judge import BatchJudge
from kilter.service.formats.runs import FileRun
from kilter.service.formats.source import STDIN
from kilter.service.formats.writers import Output
from kilter.service.judging.pipes import Pipe
from kilter.service.judging.streams import StreamQuery, Streams
from kilter.service.models.registry import Serving
from kilter.service.request import Notes


class StreamWork:
    """The work on one stream, done in a thread by a call."""

    def __init__(
        self, streams: Streams, serving: Serving, query: StreamQuery, body: Pipe, out: Pipe, notes: Notes
    ) -> None:
        self._streams, self._serving, self._query = streams, serving, query
        self._body, self._out, self._notes = body, out, notes

    def __call__(self) -> None:
        """Read the body to its end, and write the answer; whatever goes wrong ends the answer."""
        try:
            self._score()
        except BaseException as error:
            self._out.close(error)
        else:
            self._out.close()

    def _score(self) -> None:
        query, detector = self._query, self._serving.detector
        body: Readable = Unpacker(self._body, query.coding) if query.coding else self._body
        answer = PackedAnswer(self._out, query.answer_coding)
        judge = BatchJudge(
            detector, query.reasons, query.most_reasons, tails=query.tails, keep=query.keep, observer=self._observe
        )
        run = FileRun(
            detector,
            [ScoringInput(Path(STDIN), STDIN)],
            Target((OutputFile(Path(f"answer{query.answer.endings[0]}"), (0,)),), None),
            judge,
            query.hints,
            self._streams.mapped,
            cast(BinaryIO, _Bounded(body, self._streams)),
            only=query.only,
            kept=query.columns,
            watch=self._note,
        )
        run.into_stream(Output(cast(BinaryIO, answer), Path()))
        answer.finish()

    def _note(self, tally: Tally, _: float | None) -> None:
        notes = self._notes
        notes.records, notes.anomalies, notes.rejected = tally.records - tally.errors, tally.anomalies, tally.errors

    def _observe(self, table: Table, verdicts: Verdicts, good: Mask, seconds: float) -> None:
        """Count a block as other requests are counted."""
        self._notes.seconds += seconds
        if verdicts.problems:
            self._serving.rejected(verdicts.problems)
        if not good.all():
            table, verdicts = take(table, good), _picked(verdicts, good)
        if table.rows:
            self._serving.judged(table, verdicts, seconds)


def _picked(verdicts: Verdicts, rows: Mask) -> Verdicts:
    """The verdicts on some records, which have no problems."""

    def part(values: Any) -> Any:
        if values is None or isinstance(values, np.ndarray):
            return None if values is None else values[rows]
        return [value for value, wanted in zip(values, rows.tolist(), strict=True) if wanted]

    return Verdicts._make(map(part, verdicts._replace(problems=None)))._replace(problems=[])  # type: ignore[arg-type]


class _Bounded:
    """A body that may have so many bytes."""

    def __init__(self, body: Readable, streams: Streams) -> None:
        self._body, self._streams = body, streams
        self._left = streams.most_bytes

    def read(self, size: int, /) -> bytes:
        """Raises RequestError once they are more."""
        content = self._body.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise self._streams.too_long()
        return content


class PackedAnswer:
    """A pipe as a file to write to, compressed in a coding, or as it is for an empty one."""

    def __init__(self, out: Pipe, coding: str) -> None:
        self._out = out
        self._packer = Packer(coding) if coding else None

    def write(self, content: bytes, /) -> int:
        if content:
            self._out.write(content if self._packer is None else self._packer.pack(content))
        return len(content)

    def flush(self) -> None:
        """Nothing waits here."""

    def finish(self) -> None:
        """Write what stands at the end."""
        if self._packer is not None:
            self._out.write(self._packer.finish())
