"""The dashboard by Grafana's own types, checked by the TypeScript compiler; `make e2e` installs both."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "kilter.json"
SHAPES = ROOT / "tests" / "support" / "grafana"
INSTALLED = ROOT / "build" / "grafana" / "node_modules"

pytestmark = pytest.mark.e2e


def faults(text: str, folder: Path) -> str:
    """What the compiler says of a dashboard's JSON, which is TypeScript too; nothing where all is well."""
    for name in ("shapes.ts", "tsconfig.json"):
        shutil.copy(SHAPES / name, folder)
    (folder / "node_modules").symlink_to(INSTALLED)
    code = f"import type {{ Checked }} from './shapes';\nexport const dashboard: Checked = {text.strip()};\n"
    (folder / "dashboard.ts").write_text(code)
    compiler = INSTALLED / "typescript" / "bin" / "tsc"
    done = subprocess.run(["node", compiler, "--project", folder], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_the_dashboard_fits_grafana_s_types(tmp_path: Path) -> None:
    """With the options and fields of each kind of panel, its queries, the variables and the annotations."""
    assert faults(DASHBOARD.read_text(), tmp_path) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"unit": "percentunit"', '"unit": 5'),
        ('"type": "timeseries"', '"type": "timeserie"'),
        ('"gridPos": {', '"gridpos": {'),
        ('"legendFormat"', '"legend"'),
        ('"mode": "scheme"', '"mode": "schema"'),
    ],
)
def test_what_does_not_fit_is_found(tmp_path: Path, right: str, wrong: str) -> None:
    """A wrong type, a misspelt key, and a value that an option does not have."""
    text = DASHBOARD.read_text()
    assert right in text
    assert "dashboard.ts" in faults(text.replace(right, wrong, 1), tmp_path)
