"""The model card: what a model is, what it was made from, and what it must not be trusted with, in words."""

from kilter.service.detector.findings import Training
from kilter.service.detector.manifest import Manifest
from kilter.service.detector.promise import Promise, choice_in_words
from kilter.training.evaluation.baselines import compared_rows
from kilter.training.reporting.run import Run
from kilter.training.reporting.words import (
    Subject,
    bullets,
    evaluation_in_words,
    groups_in_words,
    inline,
    percent,
    promise_in_words,
    with_interval,
)


def model_card(manifest: Manifest, run: Run, subject: Subject) -> str:
    """MODEL_CARD.md of a run."""
    notes = [*manifest.training.warnings, *run.notes]
    sections = [
        f"# {manifest.name}, version {manifest.version}",
        _what(manifest, subject),
        *(["## To know first\n\n" + bullets(notes)] if notes else []),
        _data(manifest, subject),
        _use(subject),
        _rate(manifest.calibration),
        _evaluation(manifest, run),
        *([f"## Columns left out\n\n{subject.left_out}"] if subject.left_out else []),
        _limits(manifest, subject),
        _privacy(manifest, subject),
    ]
    return "\n\n".join(sections) + "\n"


def _what(manifest: Manifest, subject: Subject) -> str:
    return (
        f"An anomaly detector for {subject.kind}: a variational autoencoder (`{manifest.network.kind}`) that learned "
        f"what normal records look like, and flags those that do not. Its score is `{manifest.score.name}`, in "
        f"{manifest.score.unit}; higher is stranger. Made by Kilter {manifest.libraries.get('kilter', '')} on "
        f"{manifest.created}.".replace("  ", " ")
    )


def _data(manifest: Manifest, subject: Subject) -> str:
    training, sizes = manifest.training, manifest.training.sizes
    files = [f"`{inline(file.name)}`" for file in training.files] or ["not recorded"]
    split = (
        f"Rows by use: fit {sizes.fit:,}, calibration {sizes.calibration:,}, held out {sizes.held_out:,}."
        if sizes
        else f"Fitted on {manifest.schema.rows:,} rows."
    ) + f" They were divided {'by time' if manifest.calibration.split == 'time' else 'at random'}."
    return "\n\n".join(
        [
            "## What it was trained on",
            f"Files: {', '.join(files)}. {_labels(training)}",
            split,
            subject.seen,
        ]
    )


def _labels(training: Training) -> str:
    """Which rows counted as normal, in a sentence."""
    label, normal = training.label, training.normal
    if label is None and normal is None:
        return "No labels were used: all rows counted as normal, so anomalies among them were learned as normal."
    which = (
        f"Pictures in folders called `{inline(str(normal))}`"
        if label is None
        else f"Rows whose `{inline(label)}` is `{inline(str(normal))}`"
    )
    return f"{which} counted as normal; the others took no part in fitting or calibration."


def _use(subject: Subject) -> str:
    return (
        "## Intended use\n\n"
        "To pick out, from records that come from the same source and in the same form as the training rows, the few "
        f"that deserve a look. {subject.fit} "
        "A flag says that a record is unusual. It does not say that it is wrong, fraudulent or dangerous, nor why it "
        "came about, and no decision about a person should rest on it alone."
    )


def _rate(promise: Promise) -> str:
    return "\n\n".join(
        [
            "## What the rate promises, and what it does not",
            f"The target false-positive rate is {percent(promise.target_fpr)}: a record is flagged when its score is "
            f"above {promise.threshold:.6g}. {promise_in_words(promise)} "
            f"{choice_in_words(promise.chosen, promise.size)}",
            *groups_in_words(promise),
            f"The threshold is number {promise.rank:,} from the top among the scores of {promise.size:,} normal "
            f"records {_set_apart(promise)} Over all the calibration sets that could have been drawn, the realised "
            f"false-positive rate is distributed as Beta({promise.rank}, {promise.size + 1 - promise.rank}), with mean "
            f"{percent(promise.expected_fpr)} and 99.9 % quantile {percent(promise.upper_fpr)}.",
            "This holds as long as new normal records are exchangeable with those: drawn from the same source in the "
            "same way. It says nothing once the source changes (then recalibrate with `kilter calibrate`, or train "
            "anew), nothing about groups of records that have no threshold of their own, and nothing about how many "
            "anomalies are found.",
            *_tail(promise),
        ]
    )


def _set_apart(promise: Promise) -> str:
    if not promise.left_out:
        return "that served nothing else."
    return (
        "that nothing was fitted to. The memory of the score is drawn from them, too, and each was scored with all of "
        "it but itself (jackknife-conformal)."
    )


def _tail(promise: Promise) -> list[str]:
    if promise.tail is None:
        return []
    return [
        "Records with scores above the largest of calibration share the lowest p-value, "
        f"{percent(1 / (promise.size + 1))}. What tells them apart is the tail probability, an estimate from a "
        f"generalised Pareto distribution (shape {promise.tail.shape:.2g}, scale {promise.tail.scale:.3g}) of how many "
        f"normal records score higher, given above {promise.tail.start:.6g}. It rests on a fitted form, and nothing is "
        "promised about it."
    ]


def _evaluation(manifest: Manifest, run: Run) -> str:
    evaluation, comparison = run.evaluation, manifest.training.comparison
    lines = ["## Evaluation", *evaluation_in_words(evaluation), *evaluation.notes]
    rows = [
        f"| {metric} | {with_interval(figure)} |"
        for metric, figure in evaluation.figures().items()
        if figure.value is not None
    ]
    lines.append("\n".join(["| figure | value (95 % interval) |", "| --- | --- |", *rows]))
    if comparison:
        table = [f"| {b.name} | {b.auroc:.3f} | {b.ap:.3f} |" for b in comparison.detectors]
        lines.append(f"Beside simple detectors that were fitted to the same rows, on {compared_rows(comparison)}:")
        lines.append("\n".join(["| detector | ROC AUC | average precision |", "| --- | --- | --- |", *table]))
    return "\n\n".join(lines)


def _limits(manifest: Manifest, subject: Subject) -> str:
    limits = [
        "It knows what it was shown. What was common in the training rows is normal to it, errors included.",
        "Each record is judged by itself: sequences, rates and duplicates are invisible to it.",
        *subject.limits,
    ]
    if manifest.calibration.split != "time":
        limits.append(subject.divided)
    return "## Limits\n\n" + bullets(limits)


def _privacy(manifest: Manifest, subject: Subject) -> str:
    memory = manifest.score.memory
    kept = "No memory of training records is part of the score."
    if memory:
        comma = "," if "," in memory.of else ""
        kept = (
            f"A memory of {memory.rows:,} {memory.of}{comma} is part of the score and of the artifact: treat the "
            "artifact like the training data."
        )
        if manifest.score.backbone is None:
            kept += " `--score elbo` leaves the memory out."
    return f"## Privacy\n\n{kept} {subject.held} No privacy guarantee in the mathematical sense is given."
