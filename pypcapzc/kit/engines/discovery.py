"""Finding a container engine that speaks Docker's protocol: Docker's own, or podman's socket.

In this order: ``DOCKER_HOST``; the context that ``DOCKER_CONTEXT`` or ``docker context use`` chose;
``CONTAINER_HOST``, podman's variable; Docker's socket; podman's, the user's own first.  What somebody has
named is not passed over for another: if it does not answer, that is the error.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..failures import EngineError, EnginePermissionError

INSTALL = "pip install 'pypcapzc[kit]'"
_HOW = (
    "install Docker or podman and start it (Debian: apt-get install docker.io; podman: systemctl --user "
    "start podman.socket), name one with DOCKER_HOST, or build with --engine local"
)


@dataclass(frozen=True)
class Endpoint:
    """An address, and who named it."""

    url: str
    named_by: str | None = None
    """None for one that is only looked for."""
    options: dict[str, Any] = field(default_factory=dict, compare=False)


def endpoints() -> Iterator[Endpoint]:
    """Where an engine may be."""
    if os.environ.get("DOCKER_HOST"):
        from docker.utils import kwargs_from_env

        settings = kwargs_from_env()
        yield Endpoint(settings.pop("base_url"), "DOCKER_HOST", settings)
        return
    if context := _context():
        yield context
        return
    if url := os.environ.get("CONTAINER_HOST"):
        yield Endpoint(url, "CONTAINER_HOST")
        return
    yield Endpoint("unix:///var/run/docker.sock")
    if own := os.environ.get("XDG_RUNTIME_DIR"):
        yield Endpoint(f"unix://{own}/docker.sock")
        yield Endpoint(f"unix://{own}/podman/podman.sock")
    yield Endpoint("unix:///run/podman/podman.sock")


def _context() -> Endpoint | None:
    """The chosen context, if it is not the default one."""
    from docker.context import Context, ContextAPI
    from docker.context.config import get_current_context_name
    from docker.errors import DockerException

    name = os.environ.get("DOCKER_CONTEXT") or get_current_context_name()
    if not name or name == "default":
        return None
    try:
        context: Context | None = ContextAPI.get_context(name)
    except (DockerException, OSError, ValueError, KeyError) as error:
        raise EngineError(
            f"the docker context {name!r} cannot be read ({error}): see `docker context ls`"
        ) from None
    if context is None or not context.Host:
        raise EngineError(f"there is no docker context {name!r}: see `docker context ls`")
    tls = context.TLSConfig
    return Endpoint(context.Host, f"docker context {name!r}", {"tls": tls} if tls else {})


@dataclass(frozen=True)
class Connection:
    """An engine that answers."""

    client: Any
    """docker-py's APIClient."""
    endpoint: Endpoint
    version: str
    processor: str
    """Its machine's, as in an image: amd64, arm64."""

    def __str__(self) -> str:
        return f"{self.version} at {self.endpoint.url}"


_PROCESSORS = {"x86_64": "amd64", "aarch64": "arm64"}


def connect(patience: float = 20.0) -> Connection:
    """The first engine that answers; EngineError says why there is none, and what to do."""
    if find_spec("docker") is None:
        raise EngineError(f"docker-py is not installed here: {INSTALL}; or build with --engine local")
    refused: EngineError | None = None
    for endpoint in endpoints():
        try:
            return _try(endpoint, patience)
        except EngineError as error:
            if endpoint.named_by is not None:
                raise
            if isinstance(error, EnginePermissionError) or refused is None:
                refused = error
    if isinstance(refused, EnginePermissionError):
        raise refused
    raise EngineError(f"no container engine answers here: {_HOW}")


def _try(endpoint: Endpoint, patience: float) -> Connection:
    from docker.api import APIClient
    from docker.errors import DockerException

    by = f"{endpoint.named_by} names {endpoint.url}, but " if endpoint.named_by else ""
    url = urlsplit(endpoint.url)
    if url.scheme in ("unix", "http+unix"):
        _look_at_socket(url.path, by, patience)
    try:
        client = APIClient(
            base_url=endpoint.url,
            version="auto",
            timeout=patience,
            use_ssh_client=url.scheme == "ssh",
            **endpoint.options,
        )
        info = client.info()
    except (DockerException, OSError, ValueError) as error:
        raise EngineError(
            f"{by}no container engine answers at {endpoint.url} ({reason(error)}): {_HOW}"
        ) from error
    if info.get("OSType", "linux") != "linux":
        raise EngineError(
            f"the container engine at {endpoint.url} runs no Linux images but {info['OSType']}: {_HOW}"
        )
    machine = info.get("Architecture", "")
    # podman's service names itself among its components; as a platform it gives the system's name.
    name = "podman" if "podman" in str(client.version()).lower() else "Docker"
    version = f"{name} {info.get('ServerVersion', '?')}"
    return Connection(client, endpoint, version, _PROCESSORS.get(machine, machine))


def _look_at_socket(path: str, by: str, patience: float) -> None:
    """docker-py wraps what goes wrong here in several layers; the socket itself says it plainly."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(patience)
            probe.connect(path)
    except PermissionError:
        group = _group(path)
        raise EnginePermissionError(
            f"{by}this user may not talk to the container engine at {path}: ask to be let into the socket's "
            f"group ({group}: sudo usermod -aG {group} $USER, then log in again), use a rootless engine, or "
            f"build with --engine local"
        ) from None
    except OSError as error:
        raise EngineError(
            f"{by}no container engine answers there ({error.strerror or error}): {_HOW}"
        ) from None


def _group(path: str) -> str:
    try:
        return Path(path).group()
    except (OSError, KeyError):
        return "docker"


def reason(error: BaseException) -> str:
    """The innermost words of an exception that others were made of."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()) or type(error).__name__
