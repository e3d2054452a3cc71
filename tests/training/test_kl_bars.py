"""Tests of `kl_bars`."""

from xml.etree import ElementTree

import pytest

from kilter.training.kl_bars import kl_bars


@pytest.mark.parametrize("kl", [(0.0,), (1.5, 0.2, 0.0), tuple(1 / i for i in range(1, 33))])
def test_kl_of_any_number_of_dimensions(kl: tuple[float, ...]) -> None:
    """A single one, and one that is empty, have a picture too, and a text that tells the sum."""
    element = ElementTree.fromstring(kl_bars(kl, (1, 2)))  # noqa: S314 (made here)
    assert f"{len(kl)} latent dimensions, {sum(kl):.3g} nats in all; 1 and 2 of them" in element.attrib["aria-label"]
