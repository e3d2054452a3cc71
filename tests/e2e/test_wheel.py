"""The wheel, as a stranger installs it: beside packages of one's own that are called `service` and `training`."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from tests.support.data import write_csv

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
ROOT = Path(__file__).parents[2]
SCRIPT = """
import service, training
assert (service.OWN, training.OWN) == (1, 2)

import pandas as pd
import kilter
assert not kilter.__file__.startswith({root!r}), kilter.__file__

rows = pd.read_csv("rows.csv")
trained = kilter.train(rows, "by-python", fit={{"steps": 30}}, target_fpr=0.1, baselines=False)
loaded = kilter.load("models/by-python")
verdicts = loaded.score(rows)
assert (verdicts.score == trained.score(rows).score).all()
assert len(verdicts.to_pandas()) == len(rows)
estimator = kilter.AnomalyDetector(target_fpr=0.1, config={{"fit": {{"steps": 30}}, "baselines": False}}).fit(rows)
assert set(estimator.predict(rows)) <= {{-1, 1}}
print("done")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from what is committed or would be."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "project"
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in names:
        if (ROOT / name).exists() and not name.startswith(("tests/", "benchmarks/")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, copy], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_installs_one_name(wheel: Path) -> None:
    """Nothing but `kilter`, with the service, the pipeline, their templates and the mark that it has types."""
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"kilter"}
    for needed in ("py.typed", "service/cli.py", "training/pipeline.py", "training/reporting/templates/report.html"):
        assert f"kilter/{needed}" in names
    templates = {path.name for path in (ROOT / "service" / "routes" / "templates").iterdir()}
    assert {f"kilter/service/routes/templates/{name}" for name in templates} <= set(names)


def test_it_works_beside_packages_called_service_and_training(wheel: Path, tmp_path: Path) -> None:
    """In a fresh environment: trains, loads and scores by Python and by command."""
    venv.create(tmp_path / "env", with_pip=True)
    commands = tmp_path / "env" / "bin"
    subprocess.run([commands / "pip", "install", "--quiet", f"{wheel}[train]"], check=True)
    project = tmp_path / "project"
    for name, value in (("service", 1), ("training", 2)):
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text(f"OWN = {value}\n")
    write_csv(project / "rows.csv", np.random.default_rng(0), 200)
    (project / "use.py").write_text(SCRIPT.format(root=str(ROOT)))
    (project / "brief.toml").write_text("target_fpr = 0.1\nbaselines = false\n[fit]\nsteps = 30\n")

    def run(*command: str) -> str:
        done = subprocess.run([commands / command[0], *command[1:]], cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stderr + done.stdout

    assert run("python", "use.py").splitlines()[-1] == "done"
    run("kilter", "train", "rows.csv", "--name", "by-command", "--config", "brief.toml")
    assert "200 records" in run("kilter", "score", "models/by-command", "rows.csv", "-o", "scored.csv")
    assert (project / "scored.csv").read_text().splitlines()[0].endswith("kilter_error")
    assert "by-command" in run("kilter", "inspect", "models/by-command")
