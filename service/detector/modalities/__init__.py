"""What a model judges: a table's records, pictures, and what may come.

A modality is chosen once, when a model is loaded or trained, by the first column of its schema. Nothing else asks which
one a model has. A modality is one module that subclasses `Modality`, and an entry in `MODALITIES`; what concerns
bodies, files and reports stands in the registries of those, under its name.
"""

from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.modalities.base import Modality
from kilter.service.detector.plugin import imported
from kilter.service.detector.schema import Schema

MODALITIES: dict[str, str | type[Modality]] = {
    "table": "kilter.service.detector.modalities.tables:TableModality",
    "image": "kilter.service.detector.modalities.pictures:ImageModality",
}
"""Name to the class; a class itself will do as well as its place."""


def modality_of(schema: Schema, grid: tuple[int, int] | None = None) -> Modality:
    """The modality of a schema; `grid` as in `Modality`. Raises ArtifactError if it is not known, or does not fit."""
    name = schema.columns[0].modality if schema.columns else "table"
    if name not in MODALITIES:
        raise ArtifactError(f"this version knows no modality {name!r}")
    return imported(MODALITIES[name])(schema, grid)
