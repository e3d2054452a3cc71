"""Images built by buildah and run by podman, in a store of their own in the user's cache folder.

The base image is made from Debian's packages, so that nothing is asked of an image registry.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kilter" / "images"
BASE = "localhost/python:3.11-slim"
TOOLS = ("buildah", "podman", "runc", "mmdebstrap")
STORE = ("--root", str(CACHE / "store"), "--runroot", str(CACHE / "run"), "--storage-driver", "overlay")
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def podman(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run podman on the store. Fails the test with what podman said."""
    return _run("podman", *STORE, "--runtime", "runc", "--cgroup-manager", "cgroupfs", *arguments, check=check)


def build(target: str, settings: Path) -> str:
    """The name of the image of a target of the Dockerfile, built on `BASE`; `settings` is where pip's go."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.fail(f"images cannot be built here without {', '.join(missing)}: apt-get install {' '.join(TOOLS)}")
    with _alone():
        if podman("image", "exists", BASE, check=False).returncode:
            podman("import", str(_base()), BASE)
        tag = f"localhost/kilter:{target}"
        options = ["--isolation", "chroot", "--format", "docker", "--layers=true", "--target", target, "--tag", tag]
        for path, place in _pip(settings):
            options += ["--volume", f"{path}:{place}:ro"]
        _run("buildah", *STORE, "bud", *options, "--build-arg", f"BASE_IMAGE={BASE}", str(ROOT))
    return tag


def inspected(name: str) -> Any:
    """What podman knows of an image or a container."""
    return json.loads(podman("inspect", name).stdout)[0]


@contextmanager
def running(image: str, *options: str, command: tuple[str, ...] = ()) -> Iterator[str]:
    """The id of a container that runs, hardened as in production, and is removed at the end."""
    limits = ("--network", "host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
    logs = ("--log-driver", "k8s-file")
    started = podman("run", "--detach", *limits, *logs, *HARDENED, *options, image, *command)
    container = started.stdout.strip()
    try:
        yield container
    finally:
        podman("rm", "--force", "--time", "0", container)


def finished(image: str, *options: str, command: tuple[str, ...] = ()) -> str:
    """What a hardened container that ran to its end wrote to its standard output. Fails the test if it failed."""
    limits = ("--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
    return podman("run", "--rm", *limits, *HARDENED, *options, image, *command).stdout


def logged(container: str) -> list[dict[str, Any]]:
    """The JSON lines that a container logged."""
    return [json.loads(line) for line in podman("logs", container).stderr.splitlines() if line.startswith("{")]


@contextmanager
def _alone() -> Iterator[None]:
    """Keep test runs that go on at once from building at once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _base() -> Path:
    """A tar archive of Debian with Python where the official image of Python has it; made once."""
    made = CACHE / "base.tar"
    if not made.exists():
        partly = CACHE / "partly.tar"
        hooks = ('ln -sf python3 "$1/usr/bin/python"', 'rm -f "$1"/usr/lib/python3.*/EXTERNALLY-MANAGED')
        packages = "--include=python3,python3-pip,python3-venv,ca-certificates"
        _run(
            "mmdebstrap",
            "--variant=minbase",
            packages,
            *(f"--customize-hook={h}" for h in hooks),
            "bookworm",
            str(partly),
        )
        partly.rename(made)
    return made


def _pip(settings: Path) -> Iterator[tuple[Path, str]]:
    """What pip needs in a build to find packages as it does here: its settings, and the paths that they name.

    They are mounted for the build alone, so that nothing of this machine goes into the image.
    """
    listed = _run(sys.executable, "-m", "pip", "config", "list").stdout
    values: dict[str, str] = {}
    # Variables of the environment go before files.
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        values[name.split(".", 1)[1]] = value.strip("'\"").replace("\\n", " ")
    settings.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in values.items()))
    yield settings, "/etc/pip.conf"
    for place in {_place(word) for value in values.values() for word in value.split()}:
        if place.is_absolute() and place.exists():
            yield place, str(place)


def _place(word: str) -> Path:
    """What to mount for a path or a file URL; an index in a folder has its files beside it."""
    path = Path(urlsplit(word).path if word.startswith("file:") else word)
    return path.parent if path.name == "simple" else path


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        pytest.fail(f"{command[0]} {' '.join(command[1:])}: exit status {done.returncode}\n{done.stderr[-4000:]}")
    return done
