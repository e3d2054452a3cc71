"""The one way to synthetic records, of a model with a generator and of one without."""

from typing import Any

import pytest

from kilter.service.detector import Detector, KilterError
from kilter.service.detector.generation import MOST, Generator


def test_both_priors_give_records_of_the_model(maker: Detector, digits_detector: Detector) -> None:
    """That it reads, as many as are asked for; the same by a seed and others by another."""
    for prior in ("learned", "standard"):
        records: Any = maker.generate(50, prior=prior, seed=1)
        assert len(records) == 50
        assert not maker.table(records).problems
        assert records == maker.generate(50, prior=prior, seed=1)
        assert records != maker.generate(50, prior=prior, seed=2)
        pictures = digits_detector.generate(6, prior=prior, seed=1)
        assert pictures.shape == (6, 8, 8, 1)
    assert maker.generate(5) != maker.generate(5)


def test_the_learned_prior_makes_more_ordinary_records(maker: Detector) -> None:
    """By the verdicts of the model itself."""
    flagged = [
        maker.score(maker.generate(400, prior=prior, seed=1)).anomaly.mean() for prior in ("learned", "standard")
    ]
    assert flagged[0] < 0.15
    assert flagged[0] < flagged[1]


def test_what_a_model_cannot_do_is_said(detector: Detector, maker: Detector) -> None:
    """With what to do instead."""
    assert detector.generator is None
    with pytest.raises(KilterError, match="the model plant was trained without a generator: train it again with"):
        detector.generate(3)
    assert len(detector.generate(3, prior="standard")) == 3
    for options in ({"where": {"product": "nut"}}, {"near": maker.probes.records}):
        with pytest.raises(KilterError, match="goes with the prior learned"):
            maker.generate(3, prior="standard", **options)
    with pytest.raises(KilterError, match="the prior is learned or standard, not 'flow'"):
        maker.generate(3, prior="flow")  # type: ignore[arg-type]
    for count in (0, MOST + 1):
        with pytest.raises(KilterError, match="from 1 to 1,000,000 are made at once"):
            maker.generate(count)


def test_another_rate_keeps_the_generator(maker: Detector) -> None:
    """It has nothing to do with thresholds."""
    assert isinstance(maker.generator, Generator)
    assert maker.at_rate(0.1).generate(3, seed=1) == maker.generate(3, seed=1)
