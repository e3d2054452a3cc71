"""What a model judges: the records of a table, or pictures.

A modality is chosen once, when a model is loaded or trained, by the first column of its schema; nothing else asks which
one a model has. A modality is one module that subclasses `Modality`, and an entry in `MODALITIES`. Its bodies, files
and reports have their own registries, under its name.
"""

from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.modalities.base import Modality
from kilter.service.detector.plugin import imported
from kilter.service.detector.schema import Schema

MODALITIES: dict[str, str | type[Modality]] = {
    "table": "kilter.service.detector.modalities.tables:TableModality",
    "image": "kilter.service.detector.modalities.pictures:ImageModality",
}
"""Names to classes or their places; see `detector.plugin`."""


def modality_of(schema: Schema, grid: tuple[int, int] | None = None) -> Modality:
    """The modality of a schema; `grid` as in `Modality`. Raises ArtifactError if it is unknown, or does not fit."""
    name = schema.columns[0].modality if schema.columns else "table"
    if name not in MODALITIES:
        raise ArtifactError(f"this version knows no modality {name!r}")
    return imported(MODALITIES[name])(schema, grid)
