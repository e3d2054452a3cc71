"""`kilter serve`: the scoring service on this machine."""

import errno
import logging.config
import os
import signal
import socket
import sys
from pathlib import Path

import click

from service.detector import KilterError


@click.command()
@click.option("--models", type=click.Path(path_type=Path), help="Folder of models.  [KILTER_MODELS; models]")
@click.option("--host", help="Address to listen on.  [KILTER_HOST; 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes any that is free.  [KILTER_PORT; 8000]")
@click.option("--device", help="auto, cpu, cuda or cuda:N.  [KILTER_DEVICE; auto]")
def serve(**options: str | int | Path | None) -> None:
    """Serve the models of a folder over HTTP until SIGTERM or Ctrl-C.

    Options go before the environment variables KILTER_*, which are listed in the README.
    """
    import uvicorn
    from prometheus_client import disable_created_metrics

    from service.app import create_app
    from service.logs import config
    from service.metrics import Metrics
    from service.registry import Registry
    from service.settings import read_settings
    from service.telemetry import from_environment

    settings = read_settings(**{name: value for name, value in options.items() if value is not None})
    logging.config.dictConfig(config(settings.log_level))
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter, which nobody reads
    for number in (signal.SIGTERM, signal.SIGINT):
        # While it serves, uvicorn has handlers of its own, and raises the signal again when it is done.
        signal.signal(number, lambda *_: sys.exit(0))
    with listen(settings.host, settings.port) as server_socket:
        metrics = Metrics()
        registry = Registry(metrics)
        registry.load(settings.models, settings.device)
        if registry.why_not_ready is not None:
            raise KilterError(registry.why_not_ready)
        for detector in registry.detectors:
            click.echo(f"model {detector.name} version {detector.version} on {detector.device}")
        for why in registry.failures.values():
            click.echo(f"not loaded: {why}", err=True)
        host, port = server_socket.getsockname()[:2]
        click.echo(f"Kilter listens on http://{f'[{host}]' if ':' in host else host}:{port}  (Ctrl-C stops it)")
        sys.stdout.flush()
        server = uvicorn.Config(
            create_app(settings, registry, metrics, from_environment(os.environ)),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=settings.shutdown_seconds,
        )
        uvicorn.Server(server).run(sockets=[server_socket])


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound to an address. Raises KilterError that names the address and what to do about it."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
    except OSError as error:
        raise KilterError(
            f"there is no address {host!r} to listen on ({error.strerror}): choose another --host"
        ) from None
    found = socket.socket(family, kind)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(2048)
    except OSError as error:
        found.close()
        raise KilterError(_why_not(host, port, error)) from None
    return found


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use: stop what listens there, or choose another with --port or KILTER_PORT"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this user has: choose one above 1023 with --port or KILTER_PORT"
    return (
        f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}; choose another with --host and --port"
    )
