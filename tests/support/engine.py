"""For tests in a real container engine: the one that ``tests/docker/engine.sh`` has started."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pypcapzc.kit.engines import leftovers

VARIABLE = "PYPCAPZC_TEST_ENGINE"
BASE = "pypcapzc-test-base:1"


def why_not() -> str | None:
    """Why there is no engine for the tests."""
    if find_spec("docker") is None:
        return "docker-py is not installed"
    if not os.environ.get(VARIABLE):
        return f"{VARIABLE} names no engine for the tests: sh tests/docker/engine.sh start FOLDER makes one"
    if not (folder() / "docker.sock").is_socket():
        return f"no engine runs in {folder()}: sh tests/docker/engine.sh start {folder()}"
    return None


def folder() -> Path:
    """Where it is."""
    return Path(os.environ[VARIABLE])


def url(where: Path | None = None) -> str:
    return f"unix://{(where or folder()) / 'docker.sock'}"


def client(where: Path | None = None) -> Any:
    """docker-py's client, straight to the engine."""
    return importlib.import_module("docker").APIClient(url(where), version="auto", timeout=60)


def left(client: Any) -> list[str]:
    """Everything of ours in the engine that is no finished image."""
    filters = {"label": f"{leftovers.LABEL}=build"}
    containers = [found["Id"] for found in client.containers(all=True, filters=filters)]
    volumes = [found["Name"] for found in client.volumes(filters=filters)["Volumes"] or ()]
    layers = client.images(filters={"dangling": True, "label": f"{leftovers.LABEL}=image"})
    # While an image is made, the engine has containers of its own that carry the image's label.
    making = client.containers(all=True, filters={"label": f"{leftovers.LABEL}=image"})
    return [*containers, *volumes, *(found["Id"] for found in layers), *(found["Id"] for found in making)]


@contextmanager
def started(where: Path) -> Iterator[Any]:
    """Another engine, with the same base image."""
    script = Path(__file__).parent.parent / "docker" / "engine.sh"
    shutil.copyfile(folder() / "base.tar", where / "base.tar")
    try:
        subprocess.run(["sh", str(script), "start", str(where)], check=True, timeout=180)
        yield client(where)
    finally:
        subprocess.run(["sh", str(script), "stop", str(where)], check=True, timeout=180)


class Proxy:
    """A socket in front of the engine's that can be cut, as when the engine dies."""

    def __init__(self, path: Path) -> None:
        self.url = f"unix://{path}"
        self._path = path
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(str(folder() / "docker.sock"))
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()

    def cut(self) -> None:
        """Nobody answers any more."""
        self._path.unlink(missing_ok=True)
        self._listener.close()
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
