"""What schemathesis has to know of CSV, whose form no JSON Schema can state."""

import schemathesis
from hypothesis import strategies as st

from tests.support.serving import SCHEMA


def bodies() -> st.SearchStrategy[str]:
    """CSV bodies that fit the model `shop`."""
    row = st.tuples(st.integers(0, 99), st.integers(1, 9), st.booleans(), st.sampled_from(["red", "blue"]))
    line = row.map(lambda cells: ",".join(str(cell).lower() for cell in cells) + ",2024-05-31T08:15:00\n")
    header = ",".join(SCHEMA.names) + "\n"
    return st.lists(line, min_size=1, max_size=5).map(lambda lines: header + "".join(lines))


schemathesis.openapi.format("csv", bodies())


@schemathesis.serializer("text/csv")
def text(_: object, value: object) -> bytes:
    """A CSV body as it stands; what is none, as some other text."""
    return str(value).encode()
