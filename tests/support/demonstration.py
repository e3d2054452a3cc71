"""The demonstration of the compose files, as they stand there."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"


def services(name: str) -> dict[str, dict[str, Any]]:
    """The services of a compose file."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / name).read_text())["services"]
    return found


def hurried(folder: Path) -> Path:
    """Prometheus's configuration and rules in haste, made in a folder by the command that the container runs first."""
    (script,) = services("compose.demo.yaml")["prometheus"]["command"]
    script = script.replace("$$", "$").replace("exec /bin/prometheus", "true").replace("/tmp", "$OUT")  # noqa: S108
    script = script.replace("/etc/prometheus", str(DEPLOY / "prometheus")).replace("$OUT", str(folder))
    subprocess.run(["/bin/sh", "-ec", script], check=True)
    return folder / "prometheus.yml"
