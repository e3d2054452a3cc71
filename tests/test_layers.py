"""Which way imports go: training -> service.formats -> service.detector, and within the service from layer to layer."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS: tuple[tuple[str, ...], ...] = (
    ("detector",),
    ("problems", "settings"),
    ("request", "routing"),
    ("monitoring",),
    ("models",),
    ("formats",),
    ("judging",),
    ("protection",),
    ("routes",),
    ("web",),
    ("upgrades",),
    ("fastlane",),
    ("server",),
    ("commands",),
    ("cli", "probe"),
)
"""The packages and modules of `service`, from the lowest layer up; none imports one of its own layer or above it."""


def imported(path: Path, *, types: bool = True) -> Iterator[str]:
    """Full names of all modules that a file imports, inside functions too; with `types`, also for types alone."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if not types and id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if is_module(inner) else node.module


def is_module(name: str) -> bool:
    """Whether a full name is that of a module or package of the project."""
    place = ROOT.joinpath(*name.split(".")[1:])
    return place.is_dir() or place.with_suffix(".py").is_file()


def part_of(name: str, below: str) -> str | None:
    """The package or module right below another one that a name is in."""
    prefix = f"kilter.{below}."
    return name.removeprefix(prefix).split(".")[0] if name.startswith(prefix) else None


def test_the_layers_are_those_that_there_are() -> None:
    """Whatever is added has its place in them."""
    there = {path.stem for path in (ROOT / "service").iterdir() if not path.name.startswith("_")}
    listed = [name for layer in LAYERS for name in layer]
    optional = {"fastlane"}
    assert there | optional == set(listed)
    assert len(set(listed)) == len(listed)


def test_imports_only_go_down() -> None:
    """A module of the service imports of its own part and of lower layers alone."""
    level = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    wrong = set()
    for path in (ROOT / "service").rglob("*.py"):
        own = path.relative_to(ROOT / "service").parts[0].removesuffix(".py")
        for name in imported(path):
            part = part_of(name, "service")
            if part is not None and part != own and own in level and level[part] >= level[own]:
                wrong.add(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_the_service_imports_nothing_of_training_or_tests() -> None:
    """The serving image holds service/ alone."""
    for path in (ROOT / "service").rglob("*.py"):
        wrong = [name for name in imported(path) if name.startswith(("tests", "kilter.training"))]
        assert not wrong, path


def test_training_uses_only_the_detector_and_the_formats() -> None:
    """Training knows the contract, not the web service."""
    for path in (ROOT / "training").rglob("*.py"):
        parts = {part_of(name, "service") for name in imported(path)} - {None, "detector", "formats"}
        assert not parts, path


@pytest.mark.parametrize("below", ["service", "service/detector", "training"])
def test_packages_do_not_import_each_other_in_circles(below: str) -> None:
    """Nor do modules: of two that need each other, one is in the wrong place."""
    parts: dict[str, set[str]] = {}
    modules: dict[str, set[str]] = {}
    for path in (ROOT / below).rglob("*.py"):
        own = path.relative_to(ROOT / below).parts[0].removesuffix(".py")
        module = ".".join(("kilter", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        names = set(imported(path, types=False))
        inner = {part for name in names if (part := part_of(name, below.replace("/", "."))) is not None}
        parts.setdefault(own, set()).update(inner - {own})
        modules[module] = names - {module}
    del parts["__init__"]
    modules = {module: names & modules.keys() for module, names in modules.items()}
    for graph in (parts, modules):
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        (
            "kilter.service.detector",
            "fastapi starlette uvicorn pydantic prometheus_client pandas sklearn torch polars click matplotlib scipy "
            "PIL",
        ),
        ("kilter.service.web.app", "torch pandas sklearn polars matplotlib scipy onnx PIL"),
        ("kilter.service.formats.reading", "torch pandas sklearn fastapi starlette uvicorn PIL"),
        ("kilter.service.cli", "torch pandas sklearn polars fastapi onnxruntime"),
        ("kilter.service.commands.score", "torch pandas sklearn fastapi uvicorn"),
    ],
)
def test_importing_a_module_brings_in_no_more_than_it_needs(module: str, unwanted: str) -> None:
    """A fresh interpreter that imports the module has none of the unwanted packages loaded."""
    code = f"import sys, {module}; print(*sorted(set({unwanted.split()}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []
