"""The model card: what a model is, what it was made from, and what it must not be trusted with, in words."""

from kilter.service.detector.artifact import Manifest
from kilter.service.detector.promise import CalibrationInfo, in_words
from kilter.service.detector.schema import Schema
from kilter.training.evaluation import Evaluation
from kilter.training.provenance import file_names
from kilter.training.run import Run
from kilter.training.subject import inline, labels_in_words, subject_of
from kilter.training.words import by_group, percent, promise, verdicts, with_interval


def model_card(run: Run) -> str:
    """MODEL_CARD.md of a run."""
    manifest = run.manifest
    sections = [
        f"# {manifest.name}, version {manifest.version}",
        _what(manifest),
        *([_notes([*run.warnings, *run.notes])] if run.warnings or run.notes else []),
        _data(manifest),
        _use(manifest.schema),
        _rate(manifest),
        _evaluation(run.evaluation, run),
        *([_left_out(manifest.schema)] if run.detector.modality.name == "table" else []),
        _limits(manifest),
        _privacy(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def _what(manifest: Manifest) -> str:
    kind = manifest.network.get("kind", "network")
    judged = subject_of(manifest.schema).kind
    return (
        f"An anomaly detector for {judged}: a variational autoencoder (`{kind}`) that learned "
        f"what normal records look like, and flags those that do not. Its score is `{manifest.score.name}`, in "
        f"{manifest.score.unit}; higher is stranger. Made by Kilter {manifest.libraries.get('kilter', '')} on "
        f"{manifest.created}.".replace("  ", " ")
    )


def _notes(notes: list[str]) -> str:
    return "## To know first\n\n" + _bullets(notes)


def _data(manifest: Manifest) -> str:
    training = manifest.training
    lines = [f"`{inline(name)}`" for name in file_names(training)] or ["not recorded"]
    sizes = training.get("sizes")
    counted = [f"{key.replace('_', ' ')} {value:,}" for key, value in sizes.items()] if isinstance(sizes, dict) else []
    split = (
        f"Rows by use: {', '.join(counted)}." if counted else f"Fitted on {manifest.schema.rows:,} rows."
    ) + f" They were divided {'by time' if manifest.calibration.split == 'time' else 'at random'}."
    return "\n\n".join(
        [
            "## What it was trained on",
            f"Files: {', '.join(lines)}. {labels_in_words(training)}",
            split,
            subject_of(manifest.schema).seen,
        ]
    )


def _use(schema: Schema) -> str:
    return (
        "## Intended use\n\n"
        "To pick out, from records that come from the same source and in the same form as the training rows, the few "
        f"that deserve a look. {subject_of(schema).fit} "
        "A flag says that a record is unusual. It does not say that it is wrong, fraudulent or dangerous, nor why it "
        "came about, and no decision about a person should rest on it alone."
    )


def _rate(manifest: Manifest) -> str:
    info = manifest.calibration
    return "\n\n".join(
        [
            "## What the rate promises, and what it does not",
            f"The target false-positive rate is {percent(info.target_fpr)}: a record is flagged when its score is "
            f"above {info.threshold:.6g}. {promise(info)} {in_words(info.chosen, info.size)}",
            *by_group(info),
            f"The threshold is number {info.rank:,} from the top among the scores of {info.size:,} normal records "
            f"{_set_apart(info)} Over all the calibration sets that could have been drawn, the realised "
            f"false-positive rate is distributed as Beta({info.rank}, {info.size + 1 - info.rank}), with mean "
            f"{percent(info.expected_fpr)} and 99.9 % quantile {percent(info.upper_fpr)}.",
            "This holds as long as new normal records are exchangeable with those: drawn from the same source in the "
            "same way. It says nothing once the source changes (then recalibrate with `kilter calibrate`, or train "
            "anew), nothing about groups of records that have no threshold of their own, and nothing about how many "
            "anomalies are found.",
            *_tail(info),
        ]
    )


def _set_apart(info: CalibrationInfo) -> str:
    if not info.left_out:
        return "that served nothing else."
    return (
        "that nothing was fitted to. The memory of the score is drawn from them, too, and each was scored with all of "
        "it but itself (jackknife-conformal)."
    )


def _tail(info: CalibrationInfo) -> list[str]:
    if info.tail is None:
        return []
    return [
        "Records with scores above the largest of calibration share the lowest p-value, "
        f"{percent(1 / (info.size + 1))}. What tells them apart is the tail probability, an estimate from a "
        f"generalised Pareto distribution (shape {info.tail.shape:.2g}, scale {info.tail.scale:.3g}) of how many "
        f"normal records score higher, given above {info.tail.start:.6g}. It rests on a fitted form, and nothing is "
        "promised about it."
    ]


def _evaluation(evaluation: Evaluation, run: Run) -> str:
    lines = ["## Evaluation", *verdicts(evaluation), *evaluation.notes]
    rows = [
        f"| {metric} | {with_interval(figure)} |"
        for metric, figure in evaluation.figures().items()
        if figure.value is not None
    ]
    lines.append("\n".join(["| figure | value (95 % interval) |", "| --- | --- |", *rows]))
    if run.comparison:
        table = [f"| {b.name} | {b.auroc:.3f} | {b.ap:.3f} |" for b in run.comparison.detectors]
        lines.append(f"Beside simple detectors that were fitted to the same rows, on {run.comparison.rows}:")
        lines.append("\n".join(["| detector | ROC AUC | average precision |", "| --- | --- | --- |", *table]))
    return "\n\n".join(lines)


def _left_out(schema: Schema) -> str:
    if not schema.left_out:
        return "## Columns left out\n\nNone."
    return "## Columns left out\n\n" + _bullets(
        [f"`{inline(column.name)}`: {column.reason}" for column in schema.left_out]
    )


def _limits(manifest: Manifest) -> str:
    subject = subject_of(manifest.schema)
    limits = [
        "It knows what it was shown. What was common in the training rows is normal to it, errors included.",
        "Each record is judged by itself: sequences, rates and duplicates are invisible to it.",
        *subject.limits,
    ]
    if manifest.calibration.split != "time":
        limits.append(subject.divided)
    return "## Limits\n\n" + _bullets(limits)


def _privacy(manifest: Manifest) -> str:
    kept = "No memory of training records is part of the score."
    memory = (manifest.network.get("neighbours") or {}).get("memory")
    pictures = (manifest.network.get("memory") or {}).get("rows")
    if memory:
        kept = (
            f"A memory of {memory['core'] + memory['suspects']:,} training rows is part of the score and of the "
            "artifact: treat the artifact like the training data. `--score elbo` leaves the memory out."
        )
    elif pictures:
        kept = (
            f"A memory of {pictures:,} training pictures, reduced, is part of the score and of the artifact: treat the "
            "artifact like the training data. `--score elbo` leaves the memory out."
        )
    elif places := manifest.network.get("places"):
        kept = (
            f"A memory of {places:,} local features of training pictures, as a pretrained network gives them, is part "
            "of the score and of the artifact: treat the artifact like the training data."
        )
    held = subject_of(manifest.schema).held
    return f"## Privacy\n\n{kept} {held} No privacy guarantee in the mathematical sense is given."


def _bullets(items: list[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
