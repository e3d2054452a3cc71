"""The commands of the job that retrains, in its order, and the service beside it as the overlay `shadow` has it."""

import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from kilter.service.detector import store
from tests.support.monitoring import DEPLOY, Service, fetch, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
KUBERNETES = DEPLOY / "kubernetes"


def test_a_new_version_is_proposed_and_judges_in_the_shadow(
    models_folder: Path, training_csv: Path, tmp_path: Path
) -> None:
    """The service goes on with the pinned version, and takes the new one into its shadow without a restart."""
    models = Path(shutil.copytree(models_folder, tmp_path / "models"))
    pod = yaml.safe_load((KUBERNETES / "jobs" / "retrain.yaml").read_text())["spec"]["jobTemplate"]["spec"]["template"]
    places = {"/models": str(models), "/data/training.csv": str(training_csv)}
    overlay = yaml.safe_load((KUBERNETES / "overlays" / "shadow" / "kustomization.yaml").read_text())
    (container,) = yaml.safe_load(overlay["patches"][0]["patch"])["spec"]["template"]["spec"]["containers"]
    (wish,) = [one["value"] for one in container["env"] if one["name"] == "KILTER_SHADOW"]
    service = Service(models, tmp_path / "service.log", shadow=wish, watch_seconds="0.2")
    try:
        service.start()
        for one in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]:
            arguments = [word.replace("/models", places["/models"]) for word in one["args"]]
            arguments = [places.get(word, word) for word in arguments]
            code = "from kilter.service.cli import main; main()"
            subprocess.run([sys.executable, "-c", code, *arguments], check=True)
        assert store.versions(models / "plant") == [1, 2]
        compared = 'kilter_shadow_records_total{model="plant",result="both_normal",version="2"}'
        wait_for("shadow", lambda: compared in httpx.get(f"{service.url}/metrics").text)
        assert fetch(f"{service.url}/readyz")["models"] == {"plant": 1}
    finally:
        service.kill()
