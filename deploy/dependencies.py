"""Print the requirements of the distribution and of the extras that are named, for an image to install them alone.

They change more rarely than the code, and a layer of their own is then built more rarely too. Standard library alone.
"""

import sys
import tomllib
from pathlib import Path


def requirements(pyproject: str, extras: list[str]) -> list[str]:
    """The distribution's dependencies and those of some extras. Raises KeyError for an extra that is not there."""
    project = tomllib.loads(pyproject)["project"]
    own = f"{project['name']}["
    found: list[str] = [*project["dependencies"]]
    waiting = [*extras]
    while waiting:
        for needed in project["optional-dependencies"][waiting.pop(0)]:
            if needed.startswith(own):  # other extras of this distribution
                waiting += needed.removeprefix(own).removesuffix("]").split(",")
            else:
                found.append(needed)
    return found


if __name__ == "__main__":
    print("\n".join(requirements(Path("pyproject.toml").read_text(), sys.argv[1:])))  # noqa: T201
