"""`kilter inspect`: a model in words."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec

from kilter.service.detector import artifact, store
from kilter.service.detector.columns import Column
from kilter.service.detector.columns.base import list_names
from kilter.service.detector.findings import Training
from kilter.service.detector.manifest import Manifest, choice_in_words
from kilter.service.detector.scores import detector_of

HIDDEN = {"best F1 of any threshold", "reconstruction, nats", "KL, nats"}  # figures of an evaluation that are not shown


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the manifest.")
def inspect(model: Path, as_json: bool) -> None:
    """Describe MODEL: a model's folder (the version that serves) or a version's.

    Every file is compared with its checksum on the way.
    """
    folder = store.resolve(model)
    manifest = artifact.read_artifact(folder).manifest
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        return
    listed = [line.split("  ", 1)[1] for line in (folder / store.SUMS).read_text("ascii").splitlines()]
    sizes = {name: (folder / name).stat().st_size for name in (*listed, store.SUMS)}
    for line in describe_artifact(manifest, sizes):
        click.echo(line)


def describe_artifact(manifest: Manifest, sizes: dict[str, int]) -> Iterator[str]:
    """A model in words, line by line; `sizes` are those of its files, in bytes."""
    info, score = manifest.calibration, manifest.score
    kilter = manifest.libraries.get("kilter", "of an unknown version")
    yield f"{manifest.name} version {manifest.version}, made on {manifest.created} by Kilter {kilter}"
    yield ""
    yield from _trained(manifest.training, manifest.schema.rows)
    parts = f"Detector: {detector_of(score.kind)}. Network: {manifest.network.kind}. Score: {score.name}"
    yield f"{parts}, in {score.unit}; higher is stranger."
    yield (
        f"Flags scores above {info.threshold:.6g}, for a target false-positive rate of {_percent(info.target_fpr)}: "
        f"{_percent(info.expected_fpr)} on average, and with 99.9 % certainty at most {_percent(info.upper_fpr)} of "
        f"normal records, as long as they are like the {info.size:,} that it was calibrated on (split: {info.split})."
    )
    yield choice_in_words(info.chosen, info.size)
    if info.by_group is not None:
        yield f"Records are grouped by {info.by_group.column!r}; groups not named here have the threshold above."
        for group in info.by_group.groups:
            yield (
                f"  {group.value:<12} {group.threshold:>10.6g}: {_percent(group.expected_fpr)} on average, at most "
                f"{_percent(group.upper_fpr)}; {group.size:,} records"
            )
    yield from _evaluated(manifest.training)
    yield ""
    yield from _columns(manifest.schema.columns, manifest.schema.rows)
    for column in manifest.schema.left_out:
        yield f"  left out     {column.name}: {column.reason}"
    yield ""
    yield f"Files, all as their checksums say, {_bytes(sum(sizes.values()))} in all:"
    yield from (f"  {_bytes(size):>9}  {name}" for name, size in sizes.items())
    yield "Made with " + ", ".join(f"{name} {number}" for name, number in manifest.libraries.items()) + "."


def _trained(training: Training, rows: int) -> Iterator[str]:
    files = [file.name for file in training.files]
    yield f"Fitted on {rows:,} rows{f' of {list_names(files, longest=200)}' if files else ''}."
    if training.sizes:
        parts = msgspec.to_builtins(training.sizes).items()
        yield "Rows by use: " + ", ".join(f"{use.replace('_', ' ')} {size:,}" for use, size in parts) + "."
    if training.label is not None:
        yield f"Rows whose {training.label!r} is {training.normal!r} counted as normal."


def _evaluated(training: Training) -> Iterator[str]:
    evaluation, recalibration, when = training.evaluation, training.recalibration, "Evaluation"
    if recalibration is not None:
        yield f"This is version {recalibration.from_version}, calibrated anew on {recalibration.file.name}."
        if evaluation is None:
            evaluation = recalibration.earlier_evaluation
            when = f"Evaluation of version {recalibration.trained_version}"
    figures = evaluation.figures() if evaluation is not None else {}
    shown = {name: figure for name, figure in figures.items() if figure.value is not None and name not in HIDDEN}
    if shown:
        rate = evaluation.labelled.anomaly_rate if evaluation is not None and evaluation.labelled else None
        mix = "" if rate is None else f" where {_percent(rate)} are anomalies"
        yield f"{when}{mix}, with 95 % intervals:"
    for name, figure in shown.items():
        known = figure.low is not None and figure.high is not None
        interval = f"  ({figure.low:.3f} to {figure.high:.3f})" if known else ""
        yield f"  {name:<22}{figure.value:>9.3f}{interval}"


def _columns(columns: Sequence[Column], rows: int) -> Iterator[str]:
    kinds = Counter(column.kind for column in columns)
    yield f"{len(columns)} columns: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    for column in columns:
        missing = f", {_percent(column.missing / rows)} missing" if column.missing and rows else ""
        yield f"  {column.kind:<12} {column.name}: {column.describe()}{missing}"


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
