"""What the documents say is there, and is all that there is."""

import json
import re
from pathlib import Path

import msgspec
import nbformat
import pytest
from nbclient import NotebookClient

from kilter.training.config import TrainConfig

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md", "deploy/RUNBOOK.md")
]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md")) + sorted((ROOT / "benchmarks").glob("*.md"))
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as they are made of their texts."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """To a file, and to a heading of it."""
    for link in LINK.findall(document.read_text()):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert not anchor or target.suffix != ".md" or anchor in anchors(target), link


def test_the_readme_is_short_and_every_document_is_reached_from_it() -> None:
    """A third of what it was."""
    text = (ROOT / "README.md").read_text()
    assert len(text) < 7_100
    reached = {(ROOT / link.partition("#")[0]).resolve() for link in LINK.findall(text)}
    assert {path for path in (ROOT / "docs").iterdir() if path.is_file()} <= reached


def test_the_readme_names_the_folders_that_there_are() -> None:
    """Its tree has each package of the service, of the detector and of training."""
    tree = (ROOT / "README.md").read_text().split("## The house")[1]
    for part in ("service", "service/detector", "training", "."):
        for folder in (ROOT / part).iterdir():
            if (folder / "__init__.py").is_file():
                assert f"{folder.name}/" in tree, folder


def keys(settings: type, before: str = "") -> dict[str, object]:
    """Every key of a configuration file with its default, that of a table as `table.key`."""
    found: dict[str, object] = {}
    for field in msgspec.structs.fields(settings):
        inner = field.type if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct) else None
        found |= keys(inner, f"{field.name}.") if inner else {before + field.name: field.default}
    return found


def test_every_setting_of_training_stands_in_its_document() -> None:
    """With its default; there is no other in the table."""
    rows = re.findall(r"^\| `([a-z_.]+)` \| ([^|]+) \| [^|]+ \|$", (ROOT / "docs" / "training.md").read_text(), re.M)
    told = {key: default.strip().strip("`") for key, default in rows}
    expected = keys(TrainConfig)
    assert told.keys() == expected.keys()
    for key, default in expected.items():
        if default is None:
            assert told[key].startswith(("by the", "unset")), key
        else:
            assert json.loads(told[key]) == (list(default) if isinstance(default, tuple) else default), key


@pytest.mark.parametrize("engine", ["spark", "ray"])
def test_the_document_shows_what_runs_in_an_engine(engine: str) -> None:
    """Each snippet stands in the program that `make engines` runs, but for blank lines and how far it is indented."""
    text = (ROOT / "docs" / "cluster.md").read_text()
    snippet = text.split(f"../deploy/engines/score_in_{engine}.py)")[1].split("```")[1].removeprefix("python\n")
    program = (ROOT / "deploy" / "engines" / f"score_in_{engine}.py").read_text()
    lines = {line.strip() for line in program.splitlines()}
    assert [line for line in snippet.splitlines() if line.strip() not in lines] == []


@pytest.mark.e2e
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, from its first cell to the last, and it has the outputs that it shows."""
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "docs" / "python.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    shown = [len(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]
    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert [len(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"] == shown
    assert (tmp_path / "models" / "biopsies" / "1" / "report.html").is_file()
