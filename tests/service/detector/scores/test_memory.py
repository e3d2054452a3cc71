"""Tests of `detector.scores.memory`: measures against brute force."""

import pytest
import torch
from torch import Tensor

from kilter.service.detector.scores.memory import (
    FLOOR,
    MEASURES,
    SPARSITY,
    Memory,
    MemoryShape,
    sample_rows,
)

CORE = 16
PARTS = 4


@pytest.fixture
def memory() -> Memory:
    """Twenty rows, sixteen of them core."""
    torch.manual_seed(0)
    return filled(Memory(MemoryShape(core=CORE, suspects=4, axes=4, search=4, parts=PARTS)))


def filled(memory: Memory) -> Memory:
    """A memory with random rows and radii."""
    shape = memory.shape
    rows = shape.core + shape.suspects
    memory.rows.copy_(torch.randn(rows, shape.axes))
    memory.origin.copy_(torch.randn(shape.axes))
    memory.principal.copy_(torch.linalg.qr(torch.randn(shape.axes, shape.axes)).Q[:, : shape.search])
    memory.radius.copy_(torch.rand(rows) + 0.1)
    memory.index()
    return memory


def measured(memory: Memory, points: Tensor, own: Tensor | None = None, measures: tuple[str, ...] = MEASURES) -> Tensor:
    """The measures of points."""
    with torch.no_grad():
        return memory.measure(measures, points, memory.find(points, own), own)


def the_long_way(memory: Memory, point: Tensor, without: int = -1) -> list[float]:
    """The measures of one point as they are defined."""
    steps = point - memory.rows
    distance = steps.norm(dim=1)
    if without >= 0:
        distance[without] = torch.inf
    near = int(distance.argmin())
    around = torch.stack([part.argmin() for part in distance[:CORE].chunk(PARTS)])
    around = around + torch.arange(PARTS) * (CORE // PARTS)
    values = [
        distance[near],
        distance[around].max(),
        steps[around].mean(0).norm(),
        distance[near] / memory.radius[near] ** SPARSITY,
    ]
    return [float(value.log()) for value in values]


def test_measures_are_those_of_the_definition(memory: Memory) -> None:
    """Nearest, core, middle and relative, each taken the long way, and some of them alone."""
    points = torch.randn(50, 4)
    found = measured(memory, points)
    for point, have in zip(points, found, strict=True):
        assert have.tolist() == pytest.approx(the_long_way(memory, point), abs=1e-4)
    assert torch.equal(measured(memory, points, measures=("relative", "core")), found[:, [3, 1]])


def test_a_row_that_is_left_out_is_as_if_it_were_not_there(memory: Memory) -> None:
    """Every measure of a remembered point is that of the others; with itself it is at no distance."""
    alone = measured(memory, memory.rows, torch.arange(20))
    with_itself = measured(memory, memory.rows)
    for i, (point, have) in enumerate(zip(memory.rows, alone, strict=True)):
        assert have.tolist() == pytest.approx(the_long_way(memory, point, without=i), abs=1e-4)
    assert with_itself[:, 0].max() == pytest.approx(torch.log(torch.tensor(FLOOR)).item(), abs=1e-3)


def test_points_that_are_no_row_are_judged_as_ever(memory: Memory) -> None:
    """-1 stands for no row, beside points that are one."""
    points = torch.cat([torch.randn(5, 4), memory.rows[:3]])
    own = torch.tensor([-1] * 5 + [0, 1, 2])
    torch.testing.assert_close(measured(memory, points, own)[:5], measured(memory, points[:5]))


def test_neighbours_are_looked_for_in_some_axes_and_compared_in_all() -> None:
    """What is found is the nearest in the principal axes; how far it is is measured in full."""
    torch.manual_seed(1)
    memory = filled(Memory(MemoryShape(core=CORE, suspects=0, axes=9, search=3, parts=PARTS)))
    points = torch.randn(20, 9)
    reduced = torch.cdist((points - memory.origin) @ memory.principal, (memory.rows - memory.origin) @ memory.principal)
    found = torch.stack([part.argmin(1) for part in reduced.chunk(PARTS, dim=1)], dim=1)
    found = found + torch.arange(PARTS) * (CORE // PARTS)
    want = torch.cdist(points, memory.rows).gather(1, found)
    measures = measured(memory, points)
    torch.testing.assert_close(measures[:, 0], want.amin(1).log(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(measures[:, 1], want.amax(1).log(), rtol=1e-4, atol=1e-4)


def test_a_memory_is_whole_again_once_its_tensors_are_loaded(memory: Memory) -> None:
    """What speeds up the search is derived, and not stored."""
    again = Memory(memory.shape)
    again.load_state_dict(memory.state_dict())
    points = torch.randn(5, 4)
    torch.testing.assert_close(measured(again, points), measured(memory, points))
    assert not {"core_keys", "suspect_keys", "log_sparsity"} & memory.state_dict().keys()


def test_a_sample_keeps_suspects_rather_than_the_core() -> None:
    """They are half of it at most, and those of the core a multiple of the parts; without need none is left out."""
    generator = torch.Generator().manual_seed(0)
    suspect = torch.arange(1_000) % 5 == 0
    for size, expected in ((2_000, 200), (500, 200), (100, 40)):
        core, suspects = sample_rows(suspect, size, generator)
        assert len(suspects) == expected
        assert len(core) == min(800, size - expected) // PARTS * PARTS
        assert suspect[suspects].all()
        assert not suspect[core].any()
        assert len(set(core.tolist())) == len(core)
