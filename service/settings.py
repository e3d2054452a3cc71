"""The service's settings: environment variables `KILTER_*`, read once when it starts."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from kilter.service.detector import KilterError
from kilter.service.detector.pictures.pixels import MOST_PIXELS, PIXELS

PREFIX = "KILTER_"
_SHADOW = r"[a-z0-9][a-z0-9-]{0,62}=([1-9][0-9]{0,8}|latest)"
_SHADOWS = f"^{_SHADOW}(,{_SHADOW})*$"
_LINKS = re.compile(r"KILTER_(.*_)?(SERVICE_(HOST|PORT)(_.*)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_.*)?)")
"""Variables that Kubernetes sets for a Service whose name begins with kilter."""
_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")  # the value of another of them


class Settings(BaseSettings):
    """What an operator may choose. The field `port` is the environment variable `KILTER_PORT`, and so on."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    models: Path = Field(Path("models"), description="folder of models: `<name>/<version>/`")
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; `0.0.0.0` for all of IPv4")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes any that is free")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="`auto`, `cpu`, `cuda` or `cuda:N`")
    watch_seconds: float = Field(
        0.0, ge=0, le=86_400, description="how often the models folder is looked at for changes, in seconds; 0 never"
    )
    max_versions: int = Field(4, ge=1, description="most versions of one model that are loaded at once")
    shadow: str | None = Field(
        None,
        pattern=_SHADOWS,
        description="versions that judge in the shadow of those that serve: `name=version,...`; `latest` for the "
        "highest, while a lower one is pinned",
    )
    max_body_bytes: int = Field(32 * 1024 * 1024, ge=1, description="largest request body, in bytes; beyond it 413")
    max_records: int = Field(100_000, ge=1, description="most records in one request; beyond it 413")
    max_pixels: int = Field(
        PIXELS,
        ge=1,
        le=MOST_PIXELS,
        description="most pixels of a picture, which takes up to 16 bytes for each while it is decoded; beyond it 422",
    )
    max_inflight_records: int = Field(
        200_000, ge=1, description="most records in flight in all requests together; beyond it 503"
    )
    max_inflight_bytes: int = Field(
        128 * 1024 * 1024, ge=1, description="most bytes of bodies in flight; beyond it 503"
    )
    request_seconds: float = Field(
        30.0, gt=0, le=3600, description="how long a request may take that states no deadline; beyond it 503"
    )
    max_streams: int = Field(
        4, ge=1, le=1000, description="most streamed bodies that are worked on at once; beyond it 503"
    )
    max_stream_bytes: int | None = Field(
        None, ge=1, description="largest streamed body, in bytes, also once decompressed; unset, any"
    )
    stall_seconds: float = Field(
        60.0, gt=0, le=3600, description="how long the client of a stream may stand still, sending and reading"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="`debug`, `info` (a line per request), `warning` or `error`"
    )
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="port of /metrics alone; unset, it is on the same as the rest"
    )
    tls_cert: Path | None = Field(None, description="file of the certificate's chain in PEM; unset, there is no TLS")
    tls_key: Path | None = Field(None, description="file of the certificate's private key in PEM, not encrypted")
    trusted_proxies: str | None = Field(
        None, description="addresses and networks, with commas, whose `X-Forwarded-*` are believed; unset, none"
    )
    tokens_file: Path | None = Field(
        None, description="file of tokens, which `kilter token` makes; unset, none are asked for"
    )
    drain_seconds: float = Field(
        2.0, ge=0, le=600, description="how long all is answered after SIGTERM, while readiness fails"
    )
    shutdown_seconds: int = Field(25, ge=0, description="how long requests in flight may take to finish on SIGTERM")

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str | None) -> str | None:
        parts = [part.strip() for part in (value or "").split(",") if part.strip()]
        for part in parts:
            try:
                ip_network(part)
            except ValueError:
                raise ValueError(f"{part!r} is neither an address nor a network such as 10.0.0.0/8") from None
        return ",".join(parts) or None


def read_settings(**given: Any) -> Settings:
    """The settings from the environment, `given` ones first. Raises KilterError naming each variable that is wrong."""
    try:
        return Settings(**given)
    except ValidationError as error:
        raise KilterError("\n".join(_message(problem, given) for problem in error.errors())) from None


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """What is wrong with each variable that is called as settings are and is none, with the likeliest one meant."""
    known = [name.upper() for name in Settings.model_fields]
    messages = []
    for name, value in sorted(environment.items()):
        prefix, _, setting = name.upper().partition("_")
        if f"{prefix}_" != PREFIX or setting in known or _LINKS.fullmatch(name.upper()) or _ADDRESS.fullmatch(value):
            continue
        likely = get_close_matches(setting, known, 1)
        remedy = f"did you mean {PREFIX}{likely[0]}?" if likely else "docs/operations.md lists the settings"
        messages.append(f"{name} is no setting, and nothing reads it: {remedy}")
    return messages


def _message(problem: ErrorDetails, given: dict[str, Any]) -> str:
    field, value = str(problem["loc"][0]), problem["input"]
    place = f"--{field.replace('_', '-')}" if field in given else PREFIX + field.upper()
    known = Settings.model_fields.get(field)
    # What a text must be is what it means; a regular expression says that to few.
    wrong = "not of that form" if problem["type"] == "string_pattern_mismatch" else problem["msg"]
    text = f"{place}={str(value)!r}: {wrong[:1].lower()}{wrong[1:]}"
    if known is not None:
        text += f"; it is the {known.description}"
    if str(value).startswith("tcp://"):
        text += (
            "\nKubernetes sets such variables for a Service that is called kilter: put `enableServiceLinks: false` "
            "in the pod's specification"
        )
    return text
