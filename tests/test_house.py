"""How the code is cut: modules that a reader can take in, each with a test of its name; names that are kept apart."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_LINES = 400
PARTS = ("service", "training")
PARTICIPLES = {"asked", "begun", "found", "met", "told"}
"""Of verbs: they say that something was done, and not what there is."""


def modules(*parts: str) -> Iterator[Path]:
    """The modules of the product, by their paths in the repository."""
    for part in parts:
        yield from sorted(path.relative_to(ROOT) for path in (ROOT / part).rglob("*.py"))


def test_no_module_is_longer_than_a_reader_can_take_in() -> None:
    """400 lines, those of the tests aside."""
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in modules(*PARTS)}
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def test_every_module_has_a_test_of_its_name() -> None:
    """At the same place below tests/; what only gathers the names of a package needs none."""
    named = [path for path in modules(*PARTS) if path.name != "__init__.py"]
    tests = [ROOT / "tests" / path.parent / f"test_{path.name}" for path in named]
    assert [str(path) for path, test in zip(named, tests, strict=True) if not test.is_file()] == []


@pytest.mark.parametrize(
    ("pattern", "parts", "but"),
    [
        (r"isinstance\([^)]*(Network|VAE)", ("training",), ()),
        (
            r"schema\.image|is_image|isinstance\([^)]*ImageColumn",
            PARTS,
            ("detector/modalities/", "detector/networks/pictures", "detector/pictures/", "training/modality"),
        ),
    ],
)
def test_who_asks_what_a_model_is(pattern: str, parts: tuple[str, ...], but: tuple[str, ...]) -> None:
    """A network is asked through its interface; only a modality knows whether a model is of pictures."""
    asking = [path for path in modules(*parts) if re.search(pattern, (ROOT / path).read_text())]
    assert [str(path) for path in asking if not any(place in str(path) for place in but)] == []


def test_no_two_public_names_are_alike() -> None:
    """Of functions and classes of modules; nor do they differ by case, an underscore or a plural alone."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in modules(*PARTS):
        for node in ast.parse((ROOT / path).read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith(
                "_"
            ):
                places[node.name.lower().replace("_", "").removesuffix("s")].append(f"{path}: {node.name}")
    assert [where for where in places.values() if len(where) > 1] == []


def test_nouns_name_things() -> None:
    """No name is a mere participle."""
    wrong = set()
    for path in modules(*PARTS):
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            for field in ("id", "arg", "attr", "name"):
                name = getattr(node, field, None)
                if isinstance(name, str) and name.strip("_") in PARTICIPLES:
                    wrong.add(f"{path}: {name}")
    assert not wrong
