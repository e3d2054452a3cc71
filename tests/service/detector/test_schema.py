"""Tests of `detector.schema`: what a record has, and what the network sees of it."""

from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, Feature, NumericColumn, TimestampColumn
from kilter.service.detector.schema import LeftOut, Schema

SIZE, OK = NumericColumn("size", 0.0, 1.0, 0.0, 1.0), BooleanColumn("ok", ("true",), ("false",))
KIND, AT = CategoricalColumn("kind", ("a", "b"), (2, 1)), TimestampColumn("at", "iso", ("hour", "weekday"))
SHIFT = CategoricalColumn("shift", ("day",), (3,))
SCHEMA = Schema((SIZE, OK, KIND, AT), 3, (LeftOut("id", "an identifier"),), aside=(SHIFT,))


def test_a_record_has_the_columns_that_the_network_sees_and_those_beside() -> None:
    """The former first."""
    assert SCHEMA.fields == (SIZE, OK, KIND, AT, SHIFT)
    assert SCHEMA.names == ("size", "ok", "kind", "at", "shift")
    assert SCHEMA.ignored == {"id"}


def test_a_column_is_looked_up_by_its_name() -> None:
    """One that is left out is none."""
    assert SCHEMA.field("kind") is KIND
    assert SCHEMA.field("shift") is SHIFT
    assert SCHEMA.field("id") is None


def test_the_first_column_of_times_is_the_time() -> None:
    """By which rows are split."""
    later = TimestampColumn("later", "iso", ("hour",))
    assert SCHEMA.time is AT
    assert Schema((SIZE, later, AT), 3).time is later
    assert Schema((SIZE,), 3).time is None


def test_features_follow_the_columns_and_know_theirs() -> None:
    """A column of times has several; what stands beside has none."""
    kinds = [(feature.column, feature.kind, feature.levels) for feature in SCHEMA.features()]
    assert kinds == [(0, "gaussian", 0), (1, "flag", 0), (2, "level", 2), (3, "level", 24), (3, "level", 7)]
    assert SCHEMA.width == 5
    assert Schema((SIZE, OK), 3).features() == (Feature(0, "gaussian"), Feature(1, "flag"))
