"""The Kubernetes manifests: every overlay renders, fits the schemas strictly, and keeps what the base promises."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from kilter.service.commands.score import score_command
from kilter.service.routes.about import METRICS
from kilter.service.settings import PREFIX, Settings
from tests.support.data import write_csv

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.31", kubernetes_validate.latest_version())
CUSTOM = "monitoring.coreos.com/v1"
FOLDERS = sorted(str(path.parent.relative_to(KUBERNETES)) for path in KUBERNETES.rglob("kustomization.yaml"))

Object = dict[str, Any]


def objects(text: str) -> list[Object]:
    return [found for found in yaml.safe_load_all(text) if found is not None]


@cache
def rendered(folder: str) -> list[Object]:
    """The objects of a kustomization; where there is no kubectl, those of its files as they stand."""
    place = KUBERNETES / folder
    if shutil.which("kubectl"):
        done = subprocess.run(["kubectl", "kustomize", str(place)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return objects(done.stdout)
    found: list[Object] = []
    for resource in yaml.safe_load((place / "kustomization.yaml").read_text())["resources"]:
        path = (place / resource).resolve()
        found += rendered(str(path.relative_to(KUBERNETES))) if path.is_dir() else objects(path.read_text())
    return found


def specs(found: list[Object]) -> list[Object]:
    """The pods' specifications of deployments, jobs and cron jobs."""
    kinds = {
        "Deployment": lambda spec: spec["template"]["spec"],
        "Job": lambda spec: spec["template"]["spec"],
        "CronJob": lambda spec: spec["jobTemplate"]["spec"]["template"]["spec"],
    }
    return [kinds[one["kind"]](one["spec"]) for one in found if one["kind"] in kinds]


def the(kind: str, folder: str = "base") -> Object:
    return next(one for one in rendered(folder) if one["kind"] == kind)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_fits_the_schemas(folder: str, version: str) -> None:
    """Strictly, so that a misspelt field is an error; the schemas of custom resources are not known here."""
    for one in rendered(folder):
        if one["apiVersion"] != CUSTOM:
            kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_have_the_least_rights(folder: str) -> None:
    """Nobody, no capability, a root filesystem that is only read, no token, bounded memory, no Services' variables."""
    found = specs(rendered(folder))
    assert found
    for spec in found:
        assert spec["enableServiceLinks"] is False
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_selectors_find_the_service(folder: str) -> None:
    """The Service, the budget and the policies select labels that the pods have."""
    found = rendered(folder)
    pods = [one["spec"]["template"]["metadata"]["labels"] for one in found if one["kind"] == "Deployment"]
    for one in found:
        spec = one.get("spec", {})
        selector = {
            "Service": lambda spec: spec["selector"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        }.get(one["kind"])
        if selector is not None:
            assert all(selector(spec).items() <= labels.items() for labels in pods), one["metadata"]["name"]


def test_liveness_asks_for_no_model() -> None:
    """It asks whether the process answers; that a model serves is asked at the start and for readiness."""
    (container,) = the("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["startupProbe"]["httpGet"]["path"] == "/readyz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_a_pod_has_time_to_answer_before_it_ends() -> None:
    """The wait before SIGTERM, then the time for requests in flight, fit into the grace period, with some to spare."""
    spec = the("Deployment")["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    (shutdown,) = [int(e["value"]) for e in container["env"] if e["name"] == "KILTER_SHUTDOWN_SECONDS"]
    drain = Settings.model_fields["drain_seconds"].default
    wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert wait + drain + shutdown + 5 <= pod["terminationGracePeriodSeconds"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_setting_is_one_of_the_service(folder: str) -> None:
    """A variable `KILTER_*` that is set in a manifest is a field of the settings."""
    for spec in specs(rendered(folder)):
        names = [e["name"] for container in spec["containers"] for e in container.get("env", [])]
        ours = {name.removeprefix(PREFIX).lower() for name in names if name.startswith(PREFIX)}
        assert ours <= set(Settings.model_fields)


def test_rules_are_those_of_prometheus() -> None:
    """The operator's objects are what `deploy/kubernetes/rules.py` makes of the files of rules."""
    made = subprocess.run([sys.executable, str(KUBERNETES / "rules.py")], capture_output=True, text=True, check=True)
    written = (KUBERNETES / "overlays" / "monitoring" / "rules.yaml").read_text()
    assert written == made.stdout, (
        "python deploy/kubernetes/rules.py > deploy/kubernetes/overlays/monitoring/rules.yaml"
    )
    files = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
    assert [one["spec"] for one in objects(written)] == [yaml.safe_load(file.read_text()) for file in files]


def test_retraining_only_proposes() -> None:
    """What serves of that model is pinned before a version is added, and a shadow of that model compares it."""
    (spec,) = specs([the("CronJob", "jobs")])
    (pin,), (train,) = spec["initContainers"], spec["containers"]
    arguments = iter(train["args"])
    named = {option: next(arguments) for option in arguments if option.startswith("--")}
    assert pin["args"] == ["versions", "pin", f"{named['--models']}/{named['--name']}"]
    assert pin["image"] == train["image"]
    assert all(mount in train["volumeMounts"] for mount in pin["volumeMounts"])
    shadow = (KUBERNETES / "overlays" / "shadow" / "kustomization.yaml").read_text()
    assert f"value: {named['--name']}=latest" in shadow


def test_the_pods_of_a_job_share_a_folder(model_folder: Path, tmp_path: Path) -> None:
    """Their commands, run for every index, and then that of the merge, give what one command for all gives."""
    files = tmp_path / "records"
    files.mkdir()
    for i in range(6):
        write_csv(files / f"{i}.csv", np.random.default_rng(i), 20)
    places = {"/models/plant": str(model_folder), "/data/records": str(files), "/data/verdicts": str(tmp_path / "out")}

    def run(folder: str, index: int = 0) -> None:
        (spec,) = specs([the("Job", folder)])
        arguments = [places.get(one, one) for one in spec["containers"][0]["args"]]
        arguments = [one.replace("$(JOB_COMPLETION_INDEX)", str(index)) for one in arguments]
        assert arguments[0] == "score"
        done = CliRunner().invoke(score_command, arguments[1:])
        assert done.exit_code == 0, done.stderr

    job = the("Job", "jobs-folder")["spec"]
    assert (job["completionMode"], job["completions"]) == ("Indexed", job["parallelism"])
    for index in range(job["completions"]):
        run("jobs-folder", index)
    run("jobs-merge")
    whole = CliRunner().invoke(score_command, [str(model_folder), str(files), "-o", str(tmp_path / "whole")])
    assert whole.exit_code == 0, whole.stderr
    made, wanted = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("out", "whole"))
    assert {name: content for name, content in made.items() if name[0] != "_"} == {
        name: content for name, content in wanted.items() if name[0] != "_"
    }
    assert "_SUCCESS" in made


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="overlays are applied by kubectl kustomize")
def test_overlays_change_what_they_are_for() -> None:
    """A GPU is asked for; the autoscaler owns the number of replicas; models come from an image, not from a claim."""
    (container,) = the("Deployment", "overlays/gpu")["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["image"].endswith("-cuda")
    assert {"name": "KILTER_DEVICE", "value": "cuda"} in container["env"]
    (container,) = the("Deployment", "overlays/shadow")["spec"]["template"]["spec"]["containers"]
    environment = {e["name"]: e["value"] for e in container["env"]}
    assert environment["KILTER_SHADOW"] == "plant=latest"
    assert float(environment["KILTER_WATCH_SECONDS"]) > 0
    assert "replicas" not in the("Deployment", "overlays/autoscaling")["spec"]
    assert [one["kind"] for one in rendered("overlays/models-image")].count("PersistentVolumeClaim") == 0
    pod = the("Deployment", "overlays/models-image")["spec"]["template"]["spec"]
    assert [list(volume) for volume in pod["volumes"]] == [["emptyDir", "name"]]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="overlays are applied by kubectl kustomize")
def test_tokens_come_from_a_secret_that_may_change() -> None:
    """It is mounted as a folder, beside the models, where the setting says; what stands in it is in no file here."""
    pod = the("Deployment", "overlays/tokens")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    setting = next(one["value"] for one in container["env"] if one["name"] == "KILTER_TOKENS_FILE")
    mounts = {one["name"]: one for one in container["volumeMounts"]}
    assert setting == f"{mounts['tokens']['mountPath']}/tokens"
    assert mounts["tokens"]["readOnly"] is True
    assert "subPath" not in mounts["tokens"]
    assert {one["name"] for one in pod["volumes"]} == mounts.keys() == {"models", "tokens"}
    assert not [one for one in rendered("overlays/tokens") if one["kind"] == "Secret"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="overlays are applied by kubectl kustomize")
def test_metrics_have_a_port_that_prometheus_alone_reaches() -> None:
    """The setting, the pod's port, the Service's, what is scraped and what the policy lets in are the same."""
    found = rendered("overlays/monitoring")
    (container,) = the("Deployment", "overlays/monitoring")["spec"]["template"]["spec"]["containers"]
    number = next(int(one["value"]) for one in container["env"] if one["name"] == "KILTER_METRICS_PORT")
    assert {"name": "metrics", "containerPort": number} in container["ports"]
    ports = {one["name"]: one for one in the("Service", "overlays/monitoring")["spec"]["ports"]}
    assert ports["metrics"] == {"name": "metrics", "port": number, "targetPort": "metrics"}
    assert ports["http"]["targetPort"] == "http"
    (endpoint,) = the("ServiceMonitor", "overlays/monitoring")["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("metrics", METRICS)
    let = {one["metadata"]["name"]: one["spec"]["ingress"] for one in found if one["kind"] == "NetworkPolicy"}
    assert [[port["port"] for port in rule["ports"]] for rule in let["kilter-monitoring"]] == [["metrics"]]
    assert [[port["port"] for port in rule["ports"]] for rule in let["kilter"]] == [["http"]]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="overlays are applied by kubectl kustomize")
def test_prometheus_may_be_given_a_token(tmp_path: Path) -> None:
    """By the patch that stands commented out: what is scraped stays the same, and a Secret's token is sent."""
    copied = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, copied)
    place = copied / "overlays" / "monitoring" / "kustomization.yaml"
    place.write_text(place.read_text().replace("# - path: authorization.yaml", "- path: authorization.yaml"))
    done = subprocess.run(["kubectl", "kustomize", place.parent], capture_output=True, text=True, check=True)
    (endpoint,) = next(one for one in objects(done.stdout) if one["kind"] == "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint.pop("authorization") == {"credentials": {"name": "kilter-prometheus", "key": "token"}}
    assert [endpoint] == the("ServiceMonitor", "overlays/monitoring")["spec"]["endpoints"]
