"""An environment of its own for each server that Kilter's cannot hold, made on request in a folder that stays."""

import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

COMMON = ("numpy", "onnxruntime")
"""In every environment at the versions that Kilter runs on, so that the same program takes the same time."""
NEEDS: dict[str, tuple[str, ...]] = {
    "bare": ("orjson", f"uvicorn=={version('uvicorn')}", f"uvloop=={version('uvloop')}", "httptools"),
    "litserve": ("litserve",),
    "mlserver": ("mlserver==1.7.1", "uvloop<0.22"),
}
_PINNED = ("bare", "litserve")
"""MLServer chooses the NumPy that it can work with itself."""


def python(server: str, folder: Path) -> Path:
    """The interpreter of a server's environment: Kilter's own, or one that is made where it is not there yet."""
    if server not in NEEDS:
        return Path(sys.executable)
    home = folder / f"venv-{server}"
    found = home / "bin" / "python"
    if not (home / "complete").exists():
        print(f"making an environment for {server} in {home}", flush=True)
        venv.create(home, with_pip=True, clear=True)
        pins = [f"{name}=={version(name)}" if server in _PINNED else name for name in COMMON]
        subprocess.run([found, "-m", "pip", "install", "--quiet", *NEEDS[server], *pins], check=True)
        (home / "complete").touch()
    return found


def installed(python: Path, package: str) -> str:
    """The version of a package in an environment."""
    ask = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
