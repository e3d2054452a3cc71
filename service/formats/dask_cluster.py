"""Units of work by workers of Dask distributed: those of a scheduler, or some of this machine that are begun for it.

The model goes from here to every worker, those that come later included, and is loaded once in each: so all have the
same one, whatever they see at its path.
"""

import logging
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self, TypeVar

from distributed import Client, Future, KilledWorker, LocalCluster, WorkerPlugin, get_worker
from distributed.comm.addressing import get_address_host_port

import kilter
from kilter.service.detector import Detector, load
from kilter.service.detector.store import SUMS
from kilter.service.formats.partial import UnfinishedError
from kilter.service.formats.workplaces import Workplace

T = TypeVar("T")
R = TypeVar("R")
CONNECTING = 5.0  # seconds within which a scheduler answers
CLOSING = 2.0  # seconds that a scheduler has to say goodbye
STARTING = 30.0  # seconds within which there is a worker
SILENT = 10.0  # seconds without a result after which it is looked whether there are workers
ABANDONED = 120.0  # seconds without any worker after which none is waited for
ALIKE = ("polars", "onnxruntime", "numpy")  # packages on which the bytes of an output may depend


class ModelFiles(NamedTuple):
    """The files of a version of a model, to be loaded elsewhere."""

    files: dict[str, bytes]
    device: str

    def load(self) -> Detector:
        """The model, audited, and its probes replayed."""
        with TemporaryDirectory(prefix="kilter-model-") as folder:
            for name, content in self.files.items():
                (Path(folder) / name).write_bytes(content)
            return load(folder, self.device)


def read_model_files(folder: Path, device: str) -> ModelFiles:
    """The files of a version's folder that its checksums name, which whoever loads them compares."""
    sums = (folder / SUMS).read_bytes()
    names = [line.split("  ", 1)[1] for line in sums.decode("ascii").splitlines()]
    return ModelFiles({SUMS: sums} | {name: (folder / name).read_bytes() for name in names}, device)


class ModelPlugin(WorkerPlugin, Workplace):
    """What a worker has for its work, from when it joins until the run has ended."""

    def __init__(self, model: ModelFiles, *, own: bool = False) -> None:
        """`own` is whether the run began the worker, and ends it: Ctrl-C, which it gets too, is then not for it."""
        self._model, self._own = model, own
        self._address = ""
        self._ended = False
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(ModelPlugin, own=self._own), (self._model,)

    def setup(self, worker: Any) -> None:
        self._address = worker.address
        if self._own:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def teardown(self, worker: Any) -> None:
        self._ended = True

    @property
    def name(self) -> str:
        return f"the worker {self._address}"

    @property
    def detector(self) -> Detector:
        """The model, loaded by the first who asks."""
        with self._lock:
            return self._loaded

    @cached_property
    def _loaded(self) -> Detector:
        return self._model.load()

    def check(self) -> None:
        if self._ended:
            raise UnfinishedError("nobody waits for the work any more")


def _work_there(plugin: str, work: Callable[[Workplace, T], R], item: T) -> R:
    """Do a piece of work, in a thread of a worker."""
    place: Any = get_worker().plugins[plugin]
    return work(place, item)


class WorkerFacts(NamedTuple):
    """What a worker has and sees."""

    versions: dict[str, str]
    unseen: list[str]
    """Of the inputs."""
    writes: bool
    """Whether it sees the folder of the output, and can write to it."""


def own_versions() -> dict[str, str]:
    """The versions of what the bytes of an output depend on."""
    return {"kilter": kilter.__version__, **{name: version(name) for name in ALIKE}}


def look_around(folder: Path, token: str, inputs: Sequence[Path]) -> WorkerFacts:
    """What the process that runs this has and sees; `token` is a file that the client has made in a folder."""
    unseen = [str(path) for path in inputs if not path.exists()]
    writes = (folder / token).is_file()
    if writes:
        own = folder / f"{token}-{secrets.token_hex(4)}"
        try:
            own.touch(exist_ok=False)
            own.unlink()
        except OSError:
            writes = False
    return WorkerFacts(own_versions(), unseen, writes)


def check_worker(name: str, facts: WorkerFacts, own: Mapping[str, str], folder: Path) -> None:
    """Raise UnfinishedError if a worker has other versions than the client, or does not see its files."""
    other = [
        f"{package} {facts.versions[package]} and not {own[package]}"
        for package in own
        if facts.versions[package] != own[package]
    ]
    if other:
        raise UnfinishedError(f"{name} has {', '.join(other)}: start it from the same image or environment")
    unseen = facts.unseen if facts.writes else [str(folder), *facts.unseen]
    if unseen:
        raise UnfinishedError(
            f"{name} cannot {'see' if facts.writes else 'write to'} {unseen[0]}: every worker needs the folders of the "
            "inputs and of the output at the same paths, and to write to that of the output"
        )


def check_address(address: str) -> None:
    """Raise UnfinishedError if an address is none, or nobody listens there."""
    try:
        with socket.create_connection(get_address_host_port(address), CONNECTING):
            pass
    except (OSError, ValueError) as error:
        raise _no_scheduler(address, error) from error


def _no_scheduler(address: str, error: Exception) -> UnfinishedError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
    return UnfinishedError(
        f"no scheduler of Dask answers at {address} ({why}): give its address, like tcp://10.0.0.5:8786, as it says it "
        "when it starts"
    )


class DaskCluster:
    """A `Cluster` of Dask's workers. It is connected to, or begun, when the first work comes."""

    def __init__(self, model: ModelFiles, scheduler: str | None = None, workers: int = 1) -> None:
        """By the address of a scheduler, or with so many workers on this machine."""
        self._model, self._scheduler, self._workers = model, scheduler, workers
        self._plugin = f"kilter-{secrets.token_hex(8)}"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def check(self, folder: Path, inputs: Sequence[Path]) -> None:
        """See `Cluster.check`; also if a worker has other versions of what the bytes depend on."""
        token, own = f"seen-{secrets.token_hex(8)}", own_versions()
        (folder / token).touch()
        try:
            with self._talk() as client:
                answers = client.run(look_around, folder, token, list(inputs), on_error="return")
        finally:
            (folder / token).unlink(missing_ok=True)
        for address, facts in answers.items():
            if isinstance(facts, BaseException):
                raise UnfinishedError(f"the worker {address} cannot work: {type(facts).__name__}: {facts}")
            check_worker(f"the worker {address}", facts, own, folder)

    def run(self, work: Callable[[Workplace, T], R], items: Iterable[T]) -> Iterator[tuple[int, R]]:
        """See `Cluster.run`."""
        ready: SimpleQueue[Future[Any]] = SimpleQueue()
        pieces = list(items)
        keys = [f"{self._plugin}-{place}-{secrets.token_hex(4)}" for place in range(len(pieces))]
        with self._talk() as client:
            futures = client.map(partial(_work_there, self._plugin, work), pieces, key=keys, pure=False)
        running = {future.key: place for place, future in enumerate(futures)}
        for future in futures:
            future.add_done_callback(ready.put)
        del futures
        while running:
            done = self._next(ready)
            place = running.pop(done.key)
            result = self._result(done)
            done.release()
            yield place, result

    def _next(self, ready: "SimpleQueue[Future[Any]]") -> "Future[Any]":
        """The next future that is done. Raises UnfinishedError if there has been no worker for long."""
        began = time.monotonic()
        while True:
            try:
                return ready.get(timeout=SILENT)
            except Empty:
                with self._talk() as client:
                    if client.nthreads():
                        began = time.monotonic()
                if time.monotonic() - began > ABANDONED:
                    raise UnfinishedError(
                        f"the scheduler has had no worker for {ABANDONED:.0f} s: start some, and see in their logs why "
                        "they ended"
                    ) from None

    def _result(self, done: "Future[Any]") -> Any:
        error: BaseException | None = None
        with self._talk():
            if done.status == "finished":
                return done.result()
            if done.status == "error":
                error = done.exception()
        if error is None:
            raise self._lost("it cancelled the work")
        if isinstance(error, KilledWorker):
            raise UnfinishedError(
                f"{error.allowed_failures + 1} workers ended while they did the same file, the last one "
                f"{error.last_worker.address}: see in its log why, and whether it had enough memory"
            )
        raise error

    @contextmanager
    def _talk(self) -> Iterator[Client]:
        """The client of the cluster. Raises UnfinishedError if the scheduler cannot be reached any more."""
        client = self._client
        try:
            yield client
        except (OSError, CancelledError) as error:
            raise self._lost(str(error).partition("\n")[0]) from error

    def _lost(self, why: str) -> UnfinishedError:
        return UnfinishedError(
            f"the connection to the scheduler {self._scheduler or 'of this machine'} is lost ({why})"
        )

    @cached_property
    def _client(self) -> Client:
        """Connected, with a worker at least, all of which have the model."""
        for name in [*logging.root.manager.loggerDict]:
            if name.split(".")[0] == "distributed":  # what it says is said in a sentence, or put right by itself
                logging.getLogger(name).setLevel(logging.CRITICAL)
        where: Any = self._scheduler
        if where is not None:
            check_address(where)
        else:
            folder = self._stack.enter_context(TemporaryDirectory(prefix="kilter-dask-", ignore_cleanup_errors=True))
            where = LocalCluster(
                n_workers=self._workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                memory_limit=None,
                local_directory=folder,
                silence_logs=logging.CRITICAL,
            )
            self._stack.enter_context(where)
        try:
            client = Client(where, timeout=CONNECTING, set_as_default=False)
        except OSError as error:
            raise _no_scheduler(where, error) from error
        self._stack.callback(self._disconnect, client)
        versions: Any = client.get_versions()
        there, here = versions["scheduler"]["packages"]["distributed"], version("distributed")
        if there != here:
            raise UnfinishedError(
                f"the scheduler at {self._scheduler} has distributed {there} and not {here}: start it from the same "
                "image or environment"
            )
        try:
            client.wait_for_workers(1, timeout=STARTING)
        except TimeoutError:
            raise UnfinishedError(f"the scheduler at {self._scheduler} has no workers: start some") from None
        client.register_plugin(ModelPlugin(self._model, own=self._scheduler is None), name=self._plugin)
        return client

    def _disconnect(self, client: Client) -> None:
        """Tell the workers that nobody waits any more."""
        with suppress(Exception):  # a scheduler that is lost was told before
            if client.status == "running":
                client.unregister_worker_plugin(self._plugin)
        with suppress(Exception):
            client.close(timeout=CLOSING)
