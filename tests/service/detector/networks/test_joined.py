"""Tests of `detector.networks.joined`: the members as one, against the members one by one."""

import pytest
import torch

from kilter.service.detector.columns import Feature
from kilter.service.detector.networks.base import observed
from kilter.service.detector.networks.joined import Joined
from kilter.service.detector.networks.tabular import TabularShape, TabularVAE

NAN, INF = float("nan"), float("inf")


def network(members: int) -> TabularVAE:
    """A network over three numbers and a flag with random weights."""
    torch.manual_seed(0)
    features = (*(Feature(i, "gaussian") for i in range(3)), Feature(3, "flag"))
    made = TabularVAE(TabularShape(features, 4, members, hidden=8, latent=2, components=2))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made.eval()


def records(count: int) -> torch.Tensor:
    """Encoded records, some values of which are missing or hidden."""
    x = torch.cat([torch.randn(count, 3), torch.randint(0, 2, (count, 1)).float()], dim=1)
    x[0, 0], x[1, 1], x[2, :] = NAN, INF, NAN
    return x


@pytest.mark.parametrize("members", [1, 3])
def test_posterior_means_are_those_of_the_members(members: int) -> None:
    """One pass through block-diagonal layers gives what the members give."""
    each, x = network(members), records(20)
    joined = Joined(each)
    joined.index(each)
    with torch.no_grad():
        means, _ = joined(each.dense(x), observed(x))
        torch.testing.assert_close(means, each.posterior(x).mean.transpose(0, 1).flatten(1), rtol=1e-4, atol=1e-5)


def test_what_is_expected_is_read_off_as_well_as_a_line_can() -> None:
    """On the rows to which the readout was fitted it is close to the mixtures' expectation, and of no bias."""
    each, x = network(2), records(2_000)
    joined = Joined(each)
    with torch.no_grad():
        joined.fit(each, x)
        _, expected = joined(each.dense(x), observed(x))
        want = each.expected_dense(each.infer(x)[2])
    left = (expected - want).square().sum() / (want - want.mean(0)).square().sum()
    assert left < 0.05
    torch.testing.assert_close(expected.mean(0), want.mean(0), rtol=1e-2, atol=1e-2)
