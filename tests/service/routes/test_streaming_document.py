"""What the OpenAPI document says of streams is what they take and give."""

import json

from kilter.service.formats import CSV, NDJSON, format_named
from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.routes.streaming_document import describe_long_bodies, describe_stream, describe_stream_parameters
from tests.support.serving import detector

FORMATS = {one.media_types[0]: one for one in map(format_named, ("csv", "ndjson", "arrow-stream"))}


def test_bodies_have_examples_of_the_models_that_serve() -> None:
    """A table and a line for each; there are none without a model."""
    content = describe_long_bodies(Registry(Metrics(), [detector()]), FORMATS).by_media_type
    assert content.keys() == FORMATS.keys()
    assert content[CSV]["examples"]["shop"]["value"].startswith("amount,items,member,colour,at\n")
    assert json.loads(content[NDJSON]["examples"]["shop"]["value"])["amount"] == 52.5
    assert "examples" not in describe_long_bodies(Registry(Metrics()), FORMATS).by_media_type[CSV]


def test_answers_have_the_headers_of_the_model() -> None:
    """In every format."""
    answer = describe_stream(FORMATS)
    assert answer.by_media_type.keys() == FORMATS.keys()
    assert {*answer.headers} == {"Kilter-Model", "Kilter-Version", "Kilter-Threshold", "Kilter-Target-Fpr"}


def test_no_parameter_is_needed() -> None:
    """Each has its own name."""
    parameters = describe_stream_parameters(7)
    assert not any(parameter["required"] for parameter in parameters)
    assert len({parameter["name"] for parameter in parameters}) == len(parameters)
    assert parameters[0]["schema"]["anyOf"][1]["maximum"] == 7
