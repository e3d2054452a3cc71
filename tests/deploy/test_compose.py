"""The compose files: by the schema, with every file there that they mount, and rules in haste that are still rules."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kilter.service.commands.score import score_command
from kilter.service.settings import Settings
from tests.support.demonstration import DEPLOY, hurried, services

FILES = ("compose.yaml", "compose.demo.yaml", "compose.cluster.yaml")


@pytest.mark.parametrize("name", FILES)
def test_it_fits_the_schema(name: str) -> None:
    """That of the compose specification, in which a misspelt key is an error."""
    check = Path(sys.executable).with_name("check-jsonschema")
    command = [str(check), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_is_mounted_is_there() -> None:
    """Every folder of the repository that a container sees."""
    mounts = [volume.split(":")[0] for one in services("compose.yaml").values() for volume in one.get("volumes", [])]
    folders = {DEPLOY / mount for mount in mounts if mount.startswith("./")}
    assert folders
    for folder in folders:
        assert any(folder.iterdir()), folder


def test_ours_have_the_least_rights() -> None:
    """As in Kubernetes: no capability, a root filesystem that is only read."""
    ours = [services("compose.yaml")[name] for name in ("model", "kilter", "alerts", "traffic")]
    for one in (*ours, *services("compose.cluster.yaml").values()):
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]


def test_ports_are_open_to_this_machine_alone() -> None:
    """Nothing here asks who is there."""
    ports = [port for one in services("compose.yaml").values() for port in one.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_workers_of_a_cluster_see_what_the_client_sees() -> None:
    """All have one image, with Dask, and one folder at one path; nobody outside reaches the scheduler."""
    cluster = services("compose.cluster.yaml")
    assert cluster.keys() == {"scheduler", "worker", "score"}
    assert cluster["worker"]["deploy"]["replicas"] == 2
    for one in cluster.values():
        assert one["image"] == "kilter:dask"
        assert "dask" in one["build"]["args"]["EXTRAS"].split()
        assert one["volumes"] == cluster["scheduler"]["volumes"]
        assert "ports" not in one
    command = cluster["score"]["command"]
    assert command[command.index("--scheduler") + 1] == cluster["worker"]["command"][0] == "tcp://scheduler:8786"
    options = {option for parameter in score_command.params for option in parameter.opts}
    assert {one for one in command if one.startswith("--")} <= options


def test_the_service_has_time_to_answer_what_it_accepted() -> None:
    """More than its own limits."""
    seconds = int(services("compose.yaml")["kilter"]["stop_grace_period"].removesuffix("s"))
    assert seconds > sum(Settings.model_fields[name].default for name in ("drain_seconds", "shutdown_seconds"))


def test_rules_in_haste_differ_in_their_times_alone(tmp_path: Path) -> None:
    """The demonstration's Prometheus has every rule, evaluated every five seconds, that waits fifteen."""
    config = yaml.safe_load(hurried(tmp_path).read_text())
    for made in (tmp_path / "rules").iterdir():
        usual = yaml.safe_load((DEPLOY / "prometheus" / "rules" / made.name).read_text())
        for group in usual["groups"]:
            group |= {"interval": "5s"} if "interval" in group else {}
            for rule in group["rules"]:
                rule |= {"for": "15s"} if "for" in rule else {}
        assert yaml.safe_load(made.read_text()) == usual
    assert config["global"]["scrape_interval"] == config["global"]["evaluation_interval"] == "5s"
