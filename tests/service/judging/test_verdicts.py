import numpy as np
import pytest

from kilter.service.detector import Calibration, Detector
from kilter.service.detector.calibration import Tail
from kilter.service.detector.thresholds import Groups
from kilter.service.judging.verdicts import AnswerWriter
from tests.support import serving
from tests.support.serving import RECORD, STRANGE, client

TAIL = Tail(10.0 + 500 * 179 / 198, 510.0, 0.1, 20.0, 20 / 200)


def detector(groups: Groups | None, tail: Tail | None) -> Detector:
    """The detector of `tests.support.serving`, with groups and a tail."""
    plain = serving.detector()
    common = Calibration.of(plain.calibration.scores, 0.05, 6, tail)
    return Detector(plain.manifest, serving.Squares(), common, plain.probes, groups)


def groups() -> Groups:
    """The colour blue has a lower threshold."""
    colour = next(column for column in serving.SCHEMA.columns if column.name == "colour")
    return Groups(colour, {"blue": Calibration.of(np.linspace(1.0, 20.0, 39), 0.05, 6)})


def test_a_tail_probability_stands_where_the_tail_has_begun() -> None:
    """With every record that scores higher than where it starts, and with no other."""
    model = detector(None, TAIL)
    with client(model) as http:
        usual, strange = http.post("/v1/models/shop/score", json={"records": [RECORD, STRANGE]}).json()["results"]
    assert "tail_probability" not in usual
    score = np.array([strange["score"]])
    assert strange["tail_probability"] == pytest.approx(TAIL.probabilities(score)[0])
    assert "threshold" not in strange


def test_with_groups_threshold_and_rate_stand_in_each_result() -> None:
    """Those of the record's group; without reasons and with."""
    model = detector(groups(), None)
    records = [RECORD, RECORD | {"colour": "blue"}, RECORD | {"colour": None}]
    with client(model) as http:
        for query in ("", "?reasons=1"):
            answer = http.post(f"/v1/models/shop/score{query}", json={"records": records}).json()
            thresholds = [result["threshold"] for result in answer["results"]]
            assert thresholds == [answer["threshold"], 19.5, answer["threshold"]]
            assert {result["target_fpr"] for result in answer["results"]} == {0.05}
            assert all(("reasons" in result) == bool(query) for result in answer["results"])


def test_the_document_says_when_a_field_is_there() -> None:
    """None of the three is required, and each is described."""
    with client(serving.detector()) as http:
        schema = http.get("/openapi.json").json()["components"]["schemas"]["Result"]
    for name in ("tail_probability", "threshold", "target_fpr"):
        assert name not in schema["required"]
        assert schema["properties"][name]["description"].startswith("There ")


def test_a_plain_model_says_no_more_than_it_has() -> None:
    """Neither tail nor thresholds."""
    verdicts = serving.detector().score([RECORD])
    (result,) = AnswerWriter(serving.detector()).results([verdicts])
    assert (result.score, result.anomaly) == (verdicts.score[0], False)
    assert verdicts.threshold is None
