"""Records made field by field."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector import ArtifactError, Detector, KilterError, load
from tests.support.artifacts import rewritten
from tests.support.data import records

ROWS = records(np.random.default_rng(3), 40)


def test_records_are_those_of_the_schema(maker: Detector) -> None:
    """In the range, the levels and the digits of the fitting rows, and missing as often."""
    made = maker.generate(600, seed=1)
    for column in maker.schema.columns:
        values = [record[column.name] for record in made if record[column.name] is not None]
        if column.extremes is not None:
            assert column.extremes[0] <= min(values) <= max(values) <= column.extremes[1]
    assert {record["product"] for record in made} == {"bolt", "nut", "washer"}
    assert {record["line"] for record in made} == {"A"}
    assert all(isinstance(record["count"], int) for record in made)
    assert all(round(record["temperature"], 4) == record["temperature"] for record in made)
    assert all(record["at"].endswith(":00") for record in made)
    assert 6 <= sum(record["pressure"] is None for record in made) <= 90  # of 600, as in about 5 % of the fitting rows
    assert 0.5 < np.mean([record["product"] == "bolt" for record in made]) < 0.7


def test_what_goes_together_stays_together(maker: Detector) -> None:
    """The pressure follows the temperature, which columns drawn independently would not."""
    made = maker.generate(600, seed=1)
    pairs = np.array([(row["temperature"], row["pressure"]) for row in made if row["pressure"] is not None])
    assert np.corrcoef(pairs, rowvar=False)[0, 1] > 0.8


@settings(max_examples=15)
@given(
    st.sampled_from(["bolt", "nut", "washer"]),
    st.floats(66, 74).map(lambda number: round(number, 4)),
    st.one_of(st.none(), st.just(140.0)),
)
def test_conditions_are_kept(maker: Detector, product: str, temperature: float, pressure: float | None) -> None:
    """To the last digit, a missing value too; other fields vary, and follow them."""
    where = {"product": product, "temperature": temperature, "pressure": pressure}
    made = maker.generate(30, seed=0, where=where)
    assert all({name: record[name] for name in where} == where for record in made)
    assert len({record["count"] for record in made}) > 5


def test_a_condition_moves_what_depends_on_it(maker: Detector) -> None:
    """Warm records have a higher pressure than cool ones."""
    means = []
    for temperature in (67.0, 73.0):
        made = maker.generate(200, seed=0, where={"temperature": temperature})
        means.append(np.mean([record["pressure"] for record in made if record["pressure"] is not None]))
    assert means[1] - means[0] > 6  # of 12, if it were known exactly


def test_records_near_others_keep_some_of_their_fields(maker: Detector) -> None:
    """About half of them, and no other record's."""
    made = maker.generate(400, seed=0, near=ROWS[0])
    shares = [np.mean([record[name] == ROWS[0][name] for record in made]) for name in ("temperature", "at")]
    assert all(0.4 < share < 0.6 for share in shares)
    strange = ROWS[0] | {"product": "gear", "count": 41}
    other = maker.generate(200, seed=0, near=[strange], where={"count": 50})
    assert {record["product"] for record in other} <= {"bolt", "nut", "washer"}
    assert {record["count"] for record in other} == {50}
    with pytest.raises(KilterError, match="there is no record to be near to"):
        maker.generate(3, near=[])


def test_a_record_does_not_depend_on_how_many_there_are(maker: Detector) -> None:
    """Its distribution, that is: few records and many have the same means."""
    few = [record["count"] for seed in range(30) for record in maker.generate(20, seed=seed)]
    many = [record["count"] for record in maker.generate(6000, seed=0)]
    assert np.mean(few) == pytest.approx(np.mean(many), abs=1.2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"kind": "unmasking"', b'"kind": "dreaming"', "this version knows no generator of kind 'dreaming'"),
        (b'"repeated": 2', b'"repeated": 3', "a generator of [0-9]+ numbers has"),
        (b'"levels": 3,\n', b'"levels": 4,\n', "the program of the generator gives no chances of 'product'"),
    ],
)
def test_a_generator_that_does_not_fit_is_refused_at_once(
    old: bytes, new: bytes, message: str, generating_folder: Path, tmp_path: Path
) -> None:
    """When a model is loaded, and not when it is to generate."""

    def change(content: bytes) -> bytes:
        start = content.index(b'"generator"')
        assert old in content[start:]
        return content[:start] + content[start:].replace(old, new)

    with pytest.raises(ArtifactError, match=message):
        load(rewritten(generating_folder / "1", tmp_path / "1", {"manifest.json": change}))
