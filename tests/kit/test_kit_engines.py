"""Finding a container engine, and what is said where there is none; no engine is needed for these."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pypcapzc.cli.outcome import Exit, code_of
from pypcapzc.kit import artefacts, engines, targets
from pypcapzc.kit.engines import Options, discovery, images
from pypcapzc.kit.failures import EngineError, EnginePermissionError, PinError

pytestmark = pytest.mark.kit


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody has named an engine, and no configuration of the user's is read."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "CONTAINER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYPCAPZC_HOME", str(tmp_path / "home"))
    return tmp_path


def _named() -> list[tuple[str, str | None]]:
    return [(found.url, found.named_by) for found in discovery.endpoints()]


def test_where_is_looked(surroundings: Path) -> None:
    assert [url for url, _ in _named()] == [
        "unix:///var/run/docker.sock",
        f"unix://{surroundings}/run/docker.sock",
        f"unix://{surroundings}/run/podman/podman.sock",
        "unix:///run/podman/podman.sock",
    ]


def test_what_is_named_is_not_passed_over(surroundings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTAINER_HOST", "unix:///podman.sock")
    assert _named() == [("unix:///podman.sock", "CONTAINER_HOST")]
    (surroundings / "docker").mkdir()
    (surroundings / "docker" / "config.json").write_text(json.dumps({"currentContext": "far"}))
    with pytest.raises(EngineError, match=r"docker context 'far'.*docker context ls"):
        _named()
    _context(surroundings, "far", "tcp://192.0.2.1:2375")
    assert _named() == [("tcp://192.0.2.1:2375", "docker context 'far'")]
    _context(surroundings, "other", "unix:///other.sock")
    monkeypatch.setenv("DOCKER_CONTEXT", "other")
    assert _named() == [("unix:///other.sock", "docker context 'other'")]
    monkeypatch.setenv("DOCKER_HOST", "unix:///host.sock")
    ((url, by),) = _named()
    assert url.endswith("/host.sock")
    assert by == "DOCKER_HOST"
    with pytest.raises(
        EngineError, match=r"DOCKER_HOST names .*/host\.sock, but no container engine answers"
    ):
        discovery.connect()


def _context(home: Path, name: str, url: str) -> None:
    from docker.context.config import get_context_id

    folder = home / "docker" / "contexts" / "meta" / get_context_id(name)
    folder.mkdir(parents=True)
    endpoint = {"Host": url, "SkipTLSVerify": False}
    content = {"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}
    (folder / "meta.json").write_text(json.dumps(content))


def test_no_engine(surroundings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only = discovery.Endpoint(f"unix://{surroundings}/nowhere.sock")
    monkeypatch.setattr(discovery, "endpoints", lambda: iter([only]))
    with pytest.raises(EngineError, match=r"no container engine answers here: install.*--engine local"):
        discovery.connect()


@pytest.fixture
def listening(surroundings: Path) -> Iterator[socket.socket]:
    """A socket in podman's place."""
    path = surroundings / "run" / "podman" / "podman.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        made.listen()
        yield made


def test_an_engine_that_does_not_answer(
    listening: socket.socket, surroundings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{surroundings}/run/podman/podman.sock")
    with pytest.raises(EngineError, match=r"no container engine answers at .*timed out"):
        discovery.connect(1.0)


def test_what_answers_is_no_engine(
    listening: socket.socket, surroundings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer() -> None:
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            with near, contextlib.suppress(OSError):
                near.recv(1 << 16)
                near.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")

    threading.Thread(target=answer, daemon=True).start()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{surroundings}/run/podman/podman.sock")
    with pytest.raises(EngineError, match="no container engine answers at"):
        discovery.connect(2.0)


def test_a_socket_that_is_not_for_this_user(listening: socket.socket, surroundings: Path) -> None:
    if os.geteuid():
        pytest.skip("it takes root to become somebody else")
    path = surroundings / "run" / "podman" / "podman.sock"
    path.chmod(0o600)
    for folder in (path.parent, path.parent.parent, *surroundings.parents, surroundings):
        if "pytest" in str(folder) or "run" in folder.name or "podman" in folder.name:
            folder.chmod(0o755)
    # The package may lie where that user cannot read: it is imported first, then root is given up.
    code = f"""
import os, sys
from pypcapzc.cli.outcome import code_of
from pypcapzc.kit.engines import discovery
import docker.api, docker.errors, docker.utils, docker.context
os.environ["DOCKER_HOST"] = "unix://{path}"
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    discovery.connect()
except Exception as error:
    print(type(error).__name__, int(code_of(error)), error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"EnginePermissionError {int(Exit.NOT_PERMITTED)} ")
    assert "usermod -aG" in done.stdout
    assert "--engine local" in done.stdout


def test_permission_has_its_own_exit_code() -> None:
    assert code_of(EnginePermissionError("no")) == Exit.NOT_PERMITTED
    assert code_of(EngineError("no")) == Exit.NO


class TestPins:
    def test_an_image_that_nobody_has_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(artefacts, "image", lambda _: artefacts.Image("docker.io/x/y:1", ""))
        with pytest.raises(PinError, match=r"y:1 is empty.*pins refresh.*--base-image"):
            images.wanted_base(Options())

    def test_a_user_can_fill_in_what_is_empty_and_nothing_else(self) -> None:
        artefacts.own().parent.mkdir(parents=True)
        digest, other = f"sha256:{'1' * 64}", "9" * 64
        artefacts.own().write_text(
            f'[images.base]\nname = "evil"\ndigest = "{digest}"\n[wheels.ziglang.amd64]\nsha256 = "{other}"\n'
        )
        if artefacts.load(artefacts.packaged())["images"]["base"]["digest"]:
            pytest.skip("the packaged pin has been filled in")
        assert artefacts.pinned_image().reference == f"docker.io/library/debian@{digest}"
        assert all(wheel.sha256 != other for wheel in artefacts.wheels("amd64"))

    def test_every_tool_is_pinned_for_both_processors(self) -> None:
        for processor in artefacts.PROCESSORS:
            assert {wheel.name for wheel in artefacts.wheels(processor)} == {
                "ziglang",
                "flex-bin",
                "bison-bin",
                "cmeel-m4",
                "gnumake",
            }

    def test_the_tests_build_here_with_the_same_tools(self) -> None:
        project = Path(__file__).parents[2] / "pyproject.toml"
        table = artefacts.load(project)["project"]["optional-dependencies"]["dev"]
        named = dict(line.partition(";")[0].split("==") for line in table if "==" in line.partition(";")[0])
        pinned = {wheel.name: wheel.version for wheel in artefacts.wheels("amd64")}
        assert named.items() <= pinned.items()
        assert set(named) == {"ziglang", "flex-bin", "bison-bin"}

    def test_a_damaged_file(self, tmp_path: Path) -> None:
        (tmp_path / "pins.toml").write_text("[[[")
        with pytest.raises(PinError, match="damaged"):
            artefacts.load(tmp_path / "pins.toml")


def test_auto_goes_on_here_and_says_why(surroundings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only = discovery.Endpoint(f"unix://{surroundings}/nowhere.sock")
    monkeypatch.setattr(discovery, "endpoints", lambda: iter([only]))
    said: list[str] = []
    engine = engines.choose("auto", targets.parse("freebsd-amd64"), Options("any"), said.append)
    assert engine.name == "local"
    assert said[0].startswith("engine: local (no container engine answers here")
    with pytest.raises(ValueError, match="unknown engine"):
        engines.choose("vax", targets.parse("freebsd-amd64"), Options(), said.append)
