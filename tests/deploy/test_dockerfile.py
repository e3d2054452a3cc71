"""The Dockerfile: clean by hadolint, pinned, and sent no more than it needs."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import kilter

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def pins() -> dict[str, str]:
    """Pinned versions by name."""
    lines = (ROOT / "deploy" / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def wanted(name: str, extras: set[str], found: dict[str, dict[tuple[str, str], Requirement]]) -> None:
    """Add what a distribution requires on this machine and what that requires, each with who requires it."""
    try:
        requires = distribution(name).requires or []
    except PackageNotFoundError:
        return
    for requirement in map(Requirement, requires):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
            known = found.setdefault(canonicalize_name(requirement.name), {})
            if (name, str(requirement)) not in known:
                known[name, str(requirement)] = requirement
                wanted(requirement.name, requirement.extras, found)


def test_hadolint_finds_nothing() -> None:
    """Nothing but what is allowed in the file itself, with its reason."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the images have Python 3.11, and other versions need others"
)
def test_all_that_an_image_installs_is_pinned() -> None:
    """Each to a version that fits whatever requires it, and not to a build for one kind of processor.

    What is installed here may be newer than what is pinned: its requirements say nothing about the pins.
    """
    found: dict[str, dict[tuple[str, str], Requirement]] = {}
    wanted("kilter", {"train", "telemetry", "gpu", "dask"}, found)
    del found["kilter"]
    pinned = pins()
    assert len(found) > 30
    assert set(found) <= set(pinned)
    for name, requirements in found.items():
        for (by, _), requirement in requirements.items():
            if by == "kilter" or distribution(by).version == pinned[canonicalize_name(by)]:
                assert requirement.specifier.contains(pinned[name]), f"{by} requires {requirement}"
    assert not [version for version in pinned.values() if "+" in version]


def test_the_version_is_that_of_the_code() -> None:
    """The label says what `kilter --version` says."""
    found = re.search(r"^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE)
    assert found is not None
    assert found[1] == kilter.__version__


def test_what_is_started_is_in_exec_form() -> None:
    """A shell in between would not pass on SIGTERM."""
    started = re.findall(r"^(?:ENTRYPOINT|CMD|HEALTHCHECK .* CMD) (.)", DOCKERFILE, re.MULTILINE)
    assert started
    assert set(started) == {"["}


def test_the_base_can_be_chosen() -> None:
    """Each stage is made of it, or of another stage."""
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)
    assert len(stages) == len(re.findall("^FROM ", DOCKERFILE, re.MULTILINE))
    names = {name for _, name in stages}
    assert {base for base, _ in stages} <= names | {"${BASE_IMAGE}"}
    assert stages[-1][1] == "cpu", "the last stage is what is built where no target is named"


def test_the_builder_is_sent_what_is_copied_and_no_more() -> None:
    """Every source of a COPY is let through by .dockerignore, and nothing else."""
    let = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    assert {path.rstrip("/") for line in copied for path in line.split()} == let


def test_dependencies_are_those_of_the_project() -> None:
    """With the extras that are named."""
    done = subprocess.run(
        [sys.executable, "deploy/dependencies.py", "gpu"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert done.stdout.splitlines() == project["dependencies"] + project["optional-dependencies"]["gpu"]


def test_an_extra_brings_the_extras_that_it_names() -> None:
    """As its requirements, and never the distribution itself, which an image has from its source."""
    done = subprocess.run(
        [sys.executable, "deploy/dependencies.py", "train"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras["images"]) < set(done.stdout.splitlines())
    assert "kilter" not in done.stdout
