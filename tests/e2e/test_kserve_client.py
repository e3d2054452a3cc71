"""KServe's client, unmodified and in its default, binary mode, against a real server.

It needs half a gigabyte of packages, so that it has an environment of its own, which `make e2e` makes.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kilter.service.detector import Verdicts
from tests.support.protocol_server import ROOT, meter, running
from tests.support.serving import RECORD, STRANGE, detector

PYTHON = ROOT / "build" / "kserve" / "bin" / "python"
MATRIX = [[0.5, 1.5, 2.0, None, 1.0], [40.0, 1.0, 90.0, 3.0, 0.0]]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not PYTHON.exists(), reason="KServe's client is not there: `make e2e` installs it first"),
]


@pytest.fixture(name="found", scope="module")
def _found() -> dict[str, Any]:
    """What the client was answered."""
    given = json.dumps({"matrix": MATRIX, "records": [RECORD, STRANGE]})
    with running() as address:
        command: list[str | Path] = [PYTHON, ROOT / "tests" / "support" / "kserve_session.py", f"http://{address}"]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answered: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answered


def same(answer: dict[str, Any], want: Verdicts) -> None:
    """The answer has the verdicts that the detector gives."""
    assert answer["outputs"] == {
        "score": want.score.tolist(),
        "p_value": want.p_value.tolist(),
        "anomaly": want.anomaly.tolist(),
    }


def test_health(found: dict[str, Any]) -> None:
    """The server and its models are ready, others are not."""
    assert found["live"] is True
    assert found["ready"] is True
    assert found["models"] == {"meter": True, "shop": True, "nope": False}


@pytest.mark.parametrize("case", ["matrix", "binary answer"])
def test_a_matrix_is_judged(found: dict[str, Any], case: str) -> None:
    """The matrix goes as bytes, and the verdicts come back in JSON or as bytes."""
    same(found[case], meter().score(np.array(MATRIX, np.float32)))
    assert found["matrix"]["id"] == "k-1"
    assert found[case]["model"] == "meter"


@pytest.mark.parametrize("case", ["columns", "columns in JSON"])
def test_columns_are_judged(found: dict[str, Any], case: str) -> None:
    """A tensor per column, as bytes and in JSON."""
    same(found[case], detector().score([RECORD, STRANGE]))


def test_outputs_are_given_as_they_are_asked_for(found: dict[str, Any]) -> None:
    """Only those that are named."""
    outputs = found["asked"]["outputs"]
    assert outputs.keys() == {"feature_contribution", "anomaly"}
    assert np.array(outputs["feature_contribution"]).shape == (2, 5)


def test_mistakes_are_told(found: dict[str, Any]) -> None:
    """The client raises its own exception, with the status and the text."""
    assert found["wrong shape"]["status"] == 400
    assert "[n, 5]" in found["wrong shape"]["told"]
    assert found["unknown"]["status"] == 404
    assert "no model 'nope'" in found["unknown"]["told"]
