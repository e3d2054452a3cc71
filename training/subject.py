"""What a model judges, in words: records of a table, or pictures."""

from typing import Any, NamedTuple

from kilter.service.detector.columns import ImageColumn
from kilter.service.detector.schema import Schema
from kilter.training.pictures.pasting import SIDE


class Subject(NamedTuple):
    """The words of a report and a model card for one kind of record."""

    kind: str
    """`tables` or `pictures`."""
    learned: str
    """How many of what the network learned from."""
    seen: str
    """What the model looks at, in a sentence."""
    fit: str
    """What a record must be, in a sentence."""
    limits: tuple[str, ...]
    divided: str
    """What to know where rows were divided at random."""
    simplified: str
    """What simple detectors see of a record, in a sentence."""
    held: str
    """What of the training rows an artifact and its report hold besides any memory, in sentences."""


def subject_of(schema: Schema) -> Subject:
    """The words for the records of a schema."""
    column = schema.columns[0]
    return _pictures(schema, column) if isinstance(column, ImageColumn) else _table(schema)


def labels_in_words(training: dict[str, Any]) -> str:
    """Which rows counted as normal by a manifest's `training`, in a sentence."""
    label, normal = training.get("label"), training.get("normal")
    if label is None and normal is None:
        return "No labels were used: all rows counted as normal, so anomalies among them were learned as normal."
    which = (
        f"Pictures in folders called `{inline(str(normal))}`"
        if label is None
        else f"Rows whose `{inline(str(label))}` is `{inline(str(normal))}`"
    )
    return f"{which} counted as normal; the others took no part in fitting or calibration."


def inline(text: str) -> str:
    """Text that cannot leave the code span that it stands in."""
    return " ".join(text.replace("`", "'").split())


def size_in_words(column: ImageColumn) -> str:
    """What a model sees of a picture: its size and colours."""
    return (
        f"{column.height} x {column.width} pixels (height x width), {'grey' if column.channels == 1 else 'in colour'}"
    )


def _table(schema: Schema) -> Subject:
    count = len(schema.columns)
    named = ", ".join(f"`{inline(column.name)}`" for column in schema.columns)
    return Subject(
        "tables",
        f"{schema.rows:,} records with {count} columns",
        f"It looks at {count} columns: {named}.",
        f"A record has all {count} columns above; a missing value is sent as null.",
        (
            "Values beyond the range of the training rows and levels that it never saw raise the score; that is meant, "
            "and it means that a legitimate new level is flagged until the model is trained anew.",
            "The reasons that it gives are the columns that add most to the score, not causes.",
        ),
        "The rows were divided at random. If they have an order in time, neighbours stand on both sides and the "
        "figures above are too good.",
        "For the simple detectors a missing value is the mean, and levels are one-hot.",
        "The artifact also holds, for each column, its range and its levels as they stood in the training rows, and "
        "the sorted scores of the calibration rows. The report shows single records.",
    )


def _pictures(schema: Schema, column: ImageColumn) -> Subject:
    size = size_in_words(column)
    return Subject(
        "pictures",
        f"{schema.rows:,} pictures, each brought to {size}",
        f"It looks at pictures of {size}; larger and smaller ones are stretched to that, whatever their proportions.",
        "A picture shows the same thing from the same place in the same light.",
        (
            f"What is lost when a picture is brought to {column.height} x {column.width} pixels it cannot see: a "
            "defect needs to be some pixels large at that size.",
            "Another camera, light, distance or crop raises the score of every picture; that is meant, and it means "
            "that the model is to be trained anew, or calibrated, when these change.",
            "The regions that it gives are where a picture is unlike the training pictures, not causes.",
        ),
        "The pictures were divided at random. If some overlap or follow closely on one another, near-duplicates stand "
        "on both sides and the figures above are too good.",
        f"The simple detectors see pictures reduced to at most {SIDE} x {SIDE} pixels.",
        "The artifact also holds histograms of the training pictures' brightness, contrast and sharpness, and the "
        "sorted scores of the calibration pictures. The report shows single pictures.",
    )
