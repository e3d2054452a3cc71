"""`kilter serve`: the scoring service on this machine."""

import errno
import gc
import logging
import logging.config
import os
import signal
import socket
import sys
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kilter.service.detector import KilterError

if TYPE_CHECKING:
    from kilter.service.protection.auth import Guard

log = logging.getLogger(__name__)
GARBAGE = 20_000  # objects more, after which Python looks for garbage in cycles: a request leaves none
SWITCH_SECONDS = 0.00005
"""Python's threads take turns after so long: a batch in one need not wait for the loop at each of its steps."""


@click.command()
@click.option("--models", type=click.Path(path_type=Path), help="Folder of models.  [KILTER_MODELS; models]")
@click.option("--host", help="Address to listen on.  [KILTER_HOST; 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes any that is free.  [KILTER_PORT; 8000]")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate's chain, PEM.  [KILTER_TLS_CERT]")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its key, PEM.  [KILTER_TLS_KEY]")
@click.option("--device", help="auto, cpu, cuda or cuda:N.  [KILTER_DEVICE; auto]")
def serve(**options: str | int | Path | None) -> None:
    """Serve the models of a folder over HTTP until SIGTERM or Ctrl-C.

    Options go before the environment variables KILTER_*, which docs/operations.md lists.
    """
    from prometheus_client import disable_created_metrics

    from kilter.service.models.loading import Loader
    from kilter.service.models.registry import Registry
    from kilter.service.monitoring.logs import DELAY, Ledger, logging_config
    from kilter.service.monitoring.metrics import Metrics
    from kilter.service.monitoring.telemetry import from_environment
    from kilter.service.protection.auth import guard_of
    from kilter.service.protection.tls import check_certificate
    from kilter.service.server import Server, configure
    from kilter.service.settings import read_settings, unknown_variables
    from kilter.service.web.app import create_app

    settings = read_settings(**{name: value for name, value in options.items() if value is not None})
    logging.config.dictConfig(logging_config(settings.log_level))
    for why in unknown_variables(os.environ):
        log.warning("unknown setting", extra={"fields": {"why": why}})
    sys.setswitchinterval(SWITCH_SECONDS)
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter, which nobody reads
    for number in (signal.SIGTERM, signal.SIGINT):
        # While it serves, uvicorn has handlers of its own, and raises the signal again when it is done.
        signal.signal(number, lambda *_: sys.exit(0))
    scheme = "https" if check_certificate(settings.tls_cert, settings.tls_key) else "http"
    guard = guard_of(settings.tokens_file, settings.metrics_port)
    with ExitStack() as listening:
        sockets = [listening.enter_context(listen(settings.host, settings.port))]
        if settings.metrics_port is not None:
            own = listen(settings.host, settings.metrics_port, "KILTER_METRICS_PORT")
            sockets.append(listening.enter_context(own))
        metrics = Metrics()
        registry = Registry(metrics, max_versions=settings.max_versions)
        loader = Loader(registry, settings.models, settings.device)
        loader.load_all()
        if registry.why_not_ready is not None:
            if not settings.watch_seconds:
                raise KilterError(registry.why_not_ready)
            click.echo(f"{registry.why_not_ready}\nwaiting for a model", err=True)
        for detector in registry.detectors:
            click.echo(f"model {detector.name} version {detector.version} on {detector.device}")
        for why in registry.failures.values():
            click.echo(f"not loaded: {why}", err=True)
        addresses = [f"{scheme}://{_address(one)}" for one in sockets]
        for address in addresses[1:]:
            click.echo(f"metrics at {address}/metrics")
        click.echo(f"Kilter listens on {addresses[0]}  (Ctrl-C stops it)")
        sys.stdout.flush()
        if unprotected(guard, sockets[0].getsockname()[0]):
            log.warning("whoever reaches %s may score: KILTER_TOKENS_FILE asks for tokens", addresses[0])
        tracing, ledger = from_environment(os.environ), Ledger(metrics, DELAY)
        app = create_app(settings, registry, metrics, tracing, guard, loader, ledger)
        gc.collect()
        gc.freeze()  # what is there now stays to the end, and need not be looked through again and again
        gc.set_threshold(GARBAGE)
        Server(configure(app, settings), registry, settings.drain_seconds).run(sockets=sockets)


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def unprotected(guard: "Guard", address: str) -> bool:
    """Whether other machines reach the service, and it asks for no tokens."""
    return not guard.closed and not ip_address(address).is_loopback


def listen(host: str, port: int, names: str = "--port or KILTER_PORT") -> socket.socket:
    """A socket that is bound to an address. Raises KilterError that names the address and what to do about it."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        why = f"there is no address {host!r} to listen on ({error.strerror}): choose another --host"
        raise KilterError(why) from None
    family, kind, _, _, address = addresses[0]
    listening = socket.socket(family, kind)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            why = f"port {port} on {host} is in use: stop what listens there, or choose another with {names}"
        elif error.errno == errno.EACCES:
            why = f"port {port} needs more rights than this user has: choose one above 1023 with {names}"
        else:
            reason = os.strerror(error.errno or 0)
            why = f"cannot listen on {host} port {port}: {reason}; choose another with --host and --port"
        raise KilterError(why) from None
    return listening
