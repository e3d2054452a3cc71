"""What the OpenAPI document says of pictures: the forms in which they are sent, and what is answered."""

from kilter.service.bodies.body import MULTIPART, NPY, PICTURES, PNG
from kilter.service.detector.pictures.decoding import accepted
from kilter.service.web.openapi_parts import Json

HEATMAP: Json = {
    "name": "heatmap",
    "in": "query",
    "required": False,
    "schema": {"type": "boolean"},
    "description": "true: the answer is the one picture that was sent, with what speaks against it drawn over it, and "
    "the verdict in headers; the same where Accept names image/png",
}
HEADERS: Json = {
    f"Kilter-{name}": {"required": False, "schema": {"type": kind}, "description": f"{what}; with a heat map alone"}
    for name, kind, what in (
        ("Score", "number", "the picture's score"),
        ("P-Value", "number", "its p-value"),
        ("Anomaly", "boolean", "whether it is flagged"),
    )
}
ANSWERS: Json = {PNG: {"schema": {"type": "string", "format": "heatmap", "description": "A heat map, as a PNG."}}}


def bodies(max_pixels: int) -> Json:
    """The bodies that models of pictures take beside JSON, by content type."""
    file: Json = {"type": "string", "format": "picture", "description": f"A picture's file; {accepted(max_pixels)}."}
    several: Json = {
        "type": "object",
        "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}},
        "required": ["file"],
        "description": "A picture's file in each part, of whatever name.",
    }
    array: Json = {
        "type": "string",
        "format": "npy",
        "description": "Pictures as an array in NumPy's format npy: (n, h, w), (n, h, w, c), or one of them.",
    }
    return {
        **{kind: {"schema": file} for kind in PICTURES},
        MULTIPART: {"schema": several},
        NPY: {"schema": array},
    }
