"""Workers of Dask make what one run makes, whoever of them is killed; what they lack is said."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kilter.service.detector import load
from kilter.service.formats.dask_cluster import (
    DaskCluster,
    ModelPlugin,
    WorkerFacts,
    check_worker,
    look_around,
    own_versions,
    read_model_files,
)
from kilter.service.formats.partial import UnfinishedError
from kilter.service.formats.scoring import score_inputs
from kilter.service.formats.workplaces import Workplace
from tests.support.artifacts import ARTIFACTS
from tests.support.dask_processes import DaskProcesses, dask_processes, living_of_group, score_process, wait_until
from tests.support.data import write_csv

MODEL = ARTIFACTS / "format-2"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten CSV files, with a row in error."""
    folder = tmp_path_factory.mktemp("dask") / "in"
    for place in range(10):
        path = folder / f"day={place}" / "rows.csv"
        path.parent.mkdir(parents=True)
        write_csv(path, np.random.default_rng(place), 400)
    lines = path.read_text().splitlines()
    lines[7] += ",more"
    path.write_text("\n".join([*lines, ""]))
    return folder


@pytest.fixture(scope="module")
def expected(tables: Path) -> Path:
    """What one run makes of them."""
    out = tables.with_name("expected")
    score_inputs(load(MODEL), [tables], out)
    return out


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskProcesses]:
    """A scheduler with two workers, which no test ends."""
    with dask_processes(tmp_path_factory.mktemp("dask-processes")) as started:
        yield started


def assert_same(out: Path, expected: Path) -> None:
    """Not a byte, a file or a folder is another."""
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == {
        path.relative_to(expected): path.read_bytes() for path in expected.rglob("*") if path.is_file()
    }
    assert {path.relative_to(out) for path in out.rglob("*")} == {
        path.relative_to(expected) for path in expected.rglob("*")
    }


@pytest.mark.parametrize("options", [{}, {"form": "parquet", "fdr": 0.2}, {"top": 50}])
def test_workers_make_what_one_run_makes(
    tables: Path, processes: DaskProcesses, tmp_path: Path, options: dict[str, Any]
) -> None:
    """To the last byte; the model comes from here: what stands at its path does not matter to them."""
    model = tmp_path / "model"
    shutil.copytree(MODEL, model)
    files, detector = read_model_files(model, "cpu"), load(model)
    shutil.rmtree(model)
    first = score_inputs(detector, [tables], tmp_path / "one", **options)
    with DaskCluster(files, processes.address) as cluster:
        second = score_inputs(detector, [tables], tmp_path / "many", cluster=cluster, **options)
        again = score_inputs(detector, [tables], tmp_path / "many", cluster=cluster, resume=True, **options)
    assert_same(tmp_path / "many", tmp_path / "one")
    assert second[:4] == first[:4]
    assert second.notes == first.notes
    assert again.notes == (f"{tmp_path / 'many'} is finished already",)


def which_model(workplace: Workplace, item: int) -> tuple[int, int]:
    """The process and the model in it."""
    return os.getpid(), id(workplace.detector)


def fail_by(workplace: Workplace, error: Exception) -> None:
    raise error


def test_each_worker_loads_the_model_once(processes: DaskProcesses) -> None:
    """And keeps it from work to work; nothing of it is left at the scheduler."""
    with DaskCluster(read_model_files(MODEL, "cpu"), processes.address) as cluster:
        first = {loaded for _, loaded in cluster.run(which_model, range(40))}
        second = {loaded for _, loaded in cluster.run(which_model, range(40))}
    assert len({process for process, _ in first | second}) == len(first | second) == 2


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), UnfinishedError("it was ended"), KeyError(1)]
)
def test_what_fails_there_fails_here(processes: DaskProcesses, error: Exception) -> None:
    """As it would have here."""
    with (
        DaskCluster(read_model_files(MODEL, "cpu"), processes.address) as cluster,
        pytest.raises(type(error), match=str(error).replace("[", r"\[").replace("]", r"\]")),
    ):
        list(cluster.run(fail_by, [error]))


@pytest.mark.parametrize(
    ("address", "why"), [("tcp://127.0.0.1:1", "refused"), ("nowhere", "port"), ("tcp://nowhere.invalid:8786", "")]
)
def test_a_wrong_address_is_told_at_once(tables: Path, tmp_path: Path, address: str, why: str) -> None:
    """With how one looks; nothing is left."""
    with (
        DaskCluster(read_model_files(MODEL, "cpu"), address) as cluster,
        pytest.raises(UnfinishedError, match=rf"no scheduler of Dask answers at {address} \(.*{why}.*\): give its"),
    ):
        score_inputs(load(MODEL), [tables], tmp_path / "out", cluster=cluster)
    assert [*tmp_path.rglob("*")] == [tmp_path / "out"]


def test_another_scheduler_is_refused(processes: DaskProcesses, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of another version of Dask, with which it cannot talk."""
    monkeypatch.setattr("kilter.service.formats.dask_cluster.version", lambda name: "1.0")
    with (
        DaskCluster(read_model_files(MODEL, "cpu"), processes.address) as cluster,
        pytest.raises(UnfinishedError, match=r"has distributed 20.* and not 1\.0: start it from the same image"),
    ):
        list(cluster.run(which_model, [1]))


def test_what_a_worker_lacks_is_said(tmp_path: Path) -> None:
    """Another version, an input, the folder of the output; of a worker that has all nothing."""
    own = own_versions()
    (tmp_path / "token").touch()
    facts = look_around(tmp_path, "token", [tmp_path])
    assert facts == WorkerFacts(own, [], writes=True)
    check_worker("the worker a", facts, own, tmp_path)
    for other, message in (
        (
            look_around(tmp_path, "token", [tmp_path / "absent"]),
            r"the worker a cannot see .*absent: every worker needs",
        ),
        (look_around(tmp_path, "another", []), f"the worker a cannot write to {tmp_path}: every worker needs"),
        (facts._replace(versions={**own, "polars": "0.1"}), rf"the worker a has polars 0.1 and not {own['polars']}"),
    ):
        with pytest.raises(UnfinishedError, match=message):
            check_worker("the worker a", other, own, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


def test_a_plugin_goes_to_others_with_its_model_alone() -> None:
    """What it loaded stays; it ends its work when it is taken away."""
    import pickle

    plugin = ModelPlugin(read_model_files(MODEL, "cpu"))
    assert plugin.detector is plugin.detector
    other = pickle.loads(pickle.dumps(plugin))  # noqa: S301
    assert other.detector is not plugin.detector
    other.check()
    other.teardown(None)
    with pytest.raises(UnfinishedError, match="nobody waits"):
        other.check()


# The kills: each with processes of its own.


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Twelve larger files, and what one run makes of them."""
    source = tmp_path_factory.mktemp("many") / "in"
    source.mkdir()
    write_csv(source / "0.csv", np.random.default_rng(0), 9000)
    for place in range(1, 12):
        shutil.copy(source / "0.csv", source / f"{place}.csv")
    score_inputs(load(MODEL), [source], source.with_name("expected"))
    return source, source.with_name("expected")


SMALL = 1 << 19  # bytes of a range: two blocks


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One larger file, in which a line is in a field here and there, and what one run makes of it."""
    source = tmp_path_factory.mktemp("large") / "large.csv"
    write_csv(source, np.random.default_rng(0), 100_000)
    header, *lines = source.read_text().splitlines()
    notes = ['"two\nlines, and a comma"', "one line"]
    lines = [f"{line},{notes[row % 7 > 0]}" for row, line in enumerate(lines)]
    source.write_text("\n".join([f"{header},note", *lines, ""]))
    out = source.with_name("expected")
    out.mkdir()
    score_inputs(load(MODEL), [source], out)
    return source, out


@pytest.mark.parametrize("options", [{}, {"fdr": 0.2, "form": "parquet"}])
def test_workers_share_one_large_file(
    large: tuple[Path, Path],
    processes: DaskProcesses,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
) -> None:
    """Range by range; what they make is, to the last byte, what one run makes."""
    monkeypatch.setattr("kilter.service.formats.ranges.RANGE", SMALL)
    source, expected = large
    if options:
        expected = tmp_path / "expected"
        expected.mkdir()
        score_inputs(load(MODEL), [source], expected, **options)
    with DaskCluster(read_model_files(MODEL, "cpu"), processes.address) as cluster:
        score_inputs(load(MODEL), [source], tmp_path / "many", cluster=cluster, **options)
    assert_same(tmp_path / "many", expected)


@pytest.mark.e2e
@pytest.mark.parametrize("who", ["worker", "driver", "scheduler"])
def test_one_is_killed_that_shares_a_large_file(large: tuple[Path, Path], tmp_path: Path, who: str) -> None:
    """In the middle of it: the others go on, or a second run does."""
    source, expected = large
    out = tmp_path / "out"
    first = f"from kilter.service.formats import ranges; ranges.RANGE = {SMALL}"
    with dask_processes(tmp_path / "processes") as processes:
        options = ("--engine", "dask", "--scheduler", processes.address)
        with score_process(MODEL, source, *options, "-o", out, first=first) as run:
            wait_until(journal_has(out, 2))
            some: dict[str, subprocess.Popen[Any]] = {"worker": processes.workers[0], "scheduler": processes.scheduler}
            some.get(who, run).kill()
            run.communicate()
            assert (run.returncode == 0) == (who == "worker")
    if who != "worker":
        assert not (out / "_SUCCESS").exists()
        again = ("--engine", "dask", "--jobs", "2", "--resume", "-o", out)
        with score_process(MODEL, source, *again, first=first) as run:
            assert "100,000 records" in run.communicate()[1]
    assert_same(out, expected)


def journal_has(out: Path, lines: int) -> Callable[[], bool]:
    journal = out / "_partial" / "journal"
    return lambda: journal.exists() and journal.read_bytes().count(b"\n") >= lines


@pytest.mark.e2e
def test_a_worker_is_killed(many: tuple[Path, Path], tmp_path: Path) -> None:
    """In the middle: the others do its work."""
    source, expected = many
    out = tmp_path / "out"
    with dask_processes(tmp_path / "processes") as processes:
        options = ("--engine", "dask", "--scheduler", processes.address)
        with score_process(MODEL, source, *options, "-o", out) as run:
            wait_until(journal_has(out, 2))
            processes.workers[0].kill()
            assert "108,000 records" in run.communicate()[1]
            assert run.returncode == 0
    assert_same(out, expected)


@pytest.mark.e2e
def test_the_driver_is_killed(many: tuple[Path, Path], tmp_path: Path) -> None:
    """Another goes on, while a worker may still be at the old work."""
    source, expected = many
    out = tmp_path / "out"
    with dask_processes(tmp_path / "processes") as processes:
        options = ("--engine", "dask", "--scheduler", processes.address)
        with score_process(MODEL, source, *options, "-o", out) as run:
            wait_until(journal_has(out, 2))
            run.kill()
            run.communicate()
        assert not (out / "_SUCCESS").exists()
        with score_process(MODEL, source, *options, "--resume", "-o", out) as run:
            assert "108,000 records" in run.communicate()[1]
    assert_same(out, expected)


@pytest.mark.e2e
def test_the_scheduler_is_killed(many: tuple[Path, Path], tmp_path: Path) -> None:
    """It is told, what was finished is kept, and workers of this machine go on."""
    source, expected = many
    out = tmp_path / "out"
    with dask_processes(tmp_path / "processes") as processes:
        options = ("--engine", "dask", "--scheduler", processes.address)
        with score_process(MODEL, source, *options, "-o", out) as run:
            wait_until(journal_has(out, 2))
            processes.scheduler.kill()
            said = run.communicate()[1]
            assert run.returncode == 2
    assert said.startswith(f"kilter: the connection to the scheduler {processes.address} is lost")
    assert said.endswith("What was finished is kept: add --resume to the command to go on from there\n")
    assert said.count("\n") == 1
    with score_process(MODEL, source, "--engine", "dask", "--jobs", "2", "--resume", "-o", out) as run:
        run.communicate()
    assert_same(out, expected)


@pytest.mark.e2e
def test_ctrl_c_ends_it(many: tuple[Path, Path], tmp_path: Path) -> None:
    """As a terminal sends it, to all processes of the group; none is left, and another engine goes on."""
    source, expected = many
    out = tmp_path / "out"
    with score_process(MODEL, source, "--engine", "dask", "--jobs", "2", "-o", out) as run:
        wait_until(journal_has(out, 2))
        os.killpg(run.pid, signal.SIGINT)
        said = run.communicate()[1]
        assert run.returncode == 130
        wait_until(lambda: not living_of_group(run.pid))
    assert said.strip() == "kilter: interrupted; add --resume to the command to go on from there"
    with score_process(MODEL, source, "--resume", "-o", out) as run:
        run.communicate()
    assert_same(out, expected)


@pytest.mark.e2e
@pytest.mark.parametrize("hidden", ["in", "out"])
def test_a_worker_has_another_disk(tables: Path, tmp_path: Path, hidden: str) -> None:
    """What it does not see of the files is told, and nothing is left."""
    before = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"')
    if os.getuid() or subprocess.run([*before, "/mnt", "true"], check=False, capture_output=True).returncode:
        pytest.skip("a worker gets a disk of its own by root alone")
    source, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(tables, source)
    out.mkdir()
    with dask_processes(tmp_path / "processes", workers=0) as processes:
        processes.start_worker([*before, str(tmp_path / hidden)])
        options = ("--engine", "dask", "--scheduler", processes.address)
        with score_process(MODEL, source, *options, "-o", out) as run:
            said = run.communicate()[1]
            assert run.returncode == 2
    place = "see" if hidden == "in" else "write to"
    assert f"cannot {place} {tmp_path / hidden}" in said
    assert "every worker needs the folders of the inputs and of the output at the same paths" in said
    assert [*out.iterdir()] == []
