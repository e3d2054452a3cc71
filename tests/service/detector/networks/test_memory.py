"""Tests of `service.detector.networks.memory`: measures against brute force."""

import pytest
import torch

from service.detector.networks.memory import FLOOR, MEASURES, SPARSITY, Memory, MemoryShape


@pytest.fixture
def memory() -> Memory:
    """Twenty rows, fifteen of them core, with two orthonormal tangents each, nothing made standard."""
    torch.manual_seed(0)
    memory = Memory(MemoryShape(core=15, suspects=5, axes=4, tangents=2, near=3, around=4, rank=2))
    memory.rows.copy_(torch.randn(20, 4))
    memory.tangent.copy_(torch.linalg.qr(torch.randn(20, 4, 2)).Q.mT)
    memory.log_radius.copy_(torch.randn(20))
    memory.index()
    return memory


def test_measures_are_those_of_the_definition(memory: Memory) -> None:
    """Nearest, core, middle, off the tangents (least and mean) and relative, each taken the long way."""
    points = torch.randn(7, 4)
    with torch.no_grad():
        found = memory.measures(points)
    for point, have in zip(points, found, strict=True):
        steps = point - memory.rows
        distance = steps.norm(dim=1)
        near = distance.argsort()[:3]
        off = [(steps[i] - memory.tangent[i].T @ (memory.tangent[i] @ steps[i])).norm() for i in near]
        logs = torch.stack(off).log()
        around = steps[:15][distance[:15].argsort()[:4]]
        pull = 1 / around.square().sum(1, keepdim=True)
        want = [
            distance.min().log(),
            distance[:15].sort().values[1].log(),
            ((pull * around).sum(0) / pull.sum()).norm().log(),
            logs.min(),
            logs.mean(),
            distance.min().log() - SPARSITY * memory.log_radius[near[0]],
        ]
        assert have.tolist() == pytest.approx([float(value) for value in want], abs=2e-3)


def test_a_remembered_point_is_left_out_where_it_is_said_to_be_itself(memory: Memory) -> None:
    """Otherwise each fitting row would be its own nearest neighbour."""
    points = memory.rows
    with torch.no_grad():
        alone = memory.measures(points, torch.arange(20))
        with_itself = memory.measures(points)
    distances = torch.cdist(memory.rows, memory.rows).fill_diagonal_(torch.inf)
    torch.testing.assert_close(alone[:, 0], distances.min(1).values.log(), rtol=1e-3, atol=1e-3)
    assert with_itself[:, 0].max() == pytest.approx(0.5 * torch.log(torch.tensor(FLOOR)).item(), abs=1e-3)


def test_a_memory_is_whole_again_once_its_tensors_are_loaded(memory: Memory) -> None:
    """What speeds up the search is derived, and not stored."""
    again = Memory(memory.shape)
    again.load_state_dict(memory.state_dict())
    points = torch.randn(5, 4)
    torch.testing.assert_close(again.measures(points), memory.measures(points))
    assert not {"twice", "square"} & memory.state_dict().keys()


def test_evidence_counts_each_standard_measure_by_its_share(memory: Memory) -> None:
    """The centre and the scale of every measure, and its share of each evidence, are folded into one product."""
    points, share = torch.randn(6, 4), torch.rand(MEASURES, 3)
    center, scale = torch.randn(MEASURES), torch.rand(MEASURES) + 0.5
    memory.count(center, scale, share)
    want = (memory.measures(points) - center) / scale @ share
    torch.testing.assert_close(memory(points), want, rtol=1e-4, atol=1e-4)
