"""The import direction: training -> kilter.service.detector <- rest of service."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def imported(path: Path) -> set[str]:
    """Full names of all modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_service_never_imports_training() -> None:
    """The serving image holds service/ alone."""
    for path in (ROOT / "service").rglob("*.py"):
        assert not [
            name for name in imported(path) if name.split(".")[0] == "tests" or name.startswith("kilter.training")
        ], path


def test_the_detector_imports_nothing_of_the_service_around_it() -> None:
    """The detector stands without the web, the environment and the file formats."""
    for path in (ROOT / "service" / "detector").rglob("*.py"):
        inner = [
            n for n in imported(path) if n.startswith("kilter.service.") and not n.startswith("kilter.service.detector")
        ]
        assert not inner, path


def test_training_uses_only_the_detector_and_the_file_readers() -> None:
    """Training knows the contract, not the web service."""
    for path in (ROOT / "training").rglob("*.py"):
        names = [name for name in imported(path) if name.startswith("kilter.service.")]
        other = [n for n in names if not n.startswith(("kilter.service.detector", "kilter.service.formats"))]
        assert not other, path


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        (
            "kilter.service.detector",
            "fastapi starlette uvicorn pydantic prometheus_client pandas sklearn torch polars click matplotlib scipy "
            "PIL",
        ),
        ("kilter.service.web.app", "torch pandas sklearn polars matplotlib scipy onnx PIL"),
        ("kilter.service.cli", "torch pandas sklearn polars fastapi onnxruntime"),
        ("kilter.service.commands.score", "torch pandas sklearn fastapi uvicorn"),
    ],
)
def test_importing_a_module_brings_in_no_more_than_it_needs(module: str, unwanted: str) -> None:
    """A fresh interpreter that imports the module has none of the unwanted packages loaded."""
    code = f"import sys, {module}; print(*sorted(set({unwanted.split()}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []
