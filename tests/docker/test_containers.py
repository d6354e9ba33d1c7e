"""Builds in containers of a real engine, and everything that can go wrong with them."""

from __future__ import annotations

import functools
import os
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pypcapzc import paths
from pypcapzc.cli.outcome import Exit
from pypcapzc.kit import artefacts, data, driver, engines, pins, targets, wheels
from pypcapzc.kit.driver import Request
from pypcapzc.kit.engines import Job, Options, discovery, images, leftovers
from pypcapzc.kit.failures import BuildError, ImageError, NoSpaceError
from support import engine, kit

pytestmark = [pytest.mark.docker, pytest.mark.kit, pytest.mark.timeout(600)]

TARGETS = ("freebsd-amd64", "freebsd-arm64", "linux-amd64", "linux-musl-amd64")
SMALL = "linux-amd64"


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = kit.shared_home(tmp_path_factory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYPCAPZC_HOME", str(folder))
        patch.setenv("DOCKER_HOST", engine.url())
        yield folder


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    made = engine.client()
    yield made
    made.close()


@pytest.fixture(scope="module")
def image(home: Path) -> str:
    """The build image, made once."""
    connection = discovery.connect()
    _, tag = images.ensure(connection, Options(engine.BASE), None, print)
    return tag


@pytest.fixture(autouse=True)
def nothing_left(client: Any) -> Iterator[None]:
    yield
    assert engine.left(client) == []


def _request(target: str = SMALL, **more: Any) -> Request:
    return Request(**{"target": target, "engine": "container", "base_image": engine.BASE, **more})


@pytest.mark.parametrize("target", TARGETS)
def test_the_same_bits_as_the_local_engine(image: str, target: str, tmp_path: Path) -> None:
    result = driver.build(_request(target, out=tmp_path))
    local = driver.build(Request(target, engine="local"))
    assert (result.engine, local.engine) == ("container", "local")
    tools = {"zig", "flex", "bison"}
    ours = {name: version for name, version in result.manifest["tools"].items() if name in tools}
    theirs = {name: version for name, version in local.manifest["tools"].items() if name in tools}
    if ours != theirs:
        pytest.fail(f"the pins are of {ours}, installed are {theirs}: pins refresh --all")
    assert result.sha256 == local.sha256
    assert result.seconds < 300
    assert result.checks == local.checks
    assert result.sysroot == local.sysroot
    assert result.manifest["tools"]["base"].startswith(engine.BASE)
    assert result.manifest["key"] != local.manifest["key"]


def test_a_second_build_takes_no_engine(image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = driver.build(_request())
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    again = driver.build(_request())
    assert again.cached
    assert again.seconds < 5
    assert again.sha256 == first.sha256


def test_freebsds_own_headers(
    image: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = kit.base_system(tmp_path_factory.mktemp("base"))
    pin = artefacts.Archive("13.5", base.name, kit.sha256(base), ())
    monkeypatch.setattr(artefacts, "sysroots", lambda _: [pin])
    result = driver.build(_request("freebsd-amd64:13", sysroot=base))
    local = driver.build(Request("freebsd-amd64:13", engine="local", sysroot=base))
    assert result.sysroot == local.sysroot == f"FreeBSD 13.5 base.txz {pin.sha256}"
    assert result.sha256 == local.sha256


class Running:
    """`pypcapzc build` in a process of its own, stopped at a line of what it says."""

    def __init__(self, home: Path, *arguments: str, **more: str) -> None:
        self.home = home
        self.said: list[str] = []
        sources = paths.cache_dir() / "kit" / "sources"
        wheels = paths.cache_dir() / "kit" / "wheels"
        (home / "cache" / "kit").mkdir(parents=True, exist_ok=True)
        for folder in (sources, wheels):
            folder.mkdir(exist_ok=True)
            link = home / "cache" / "kit" / folder.name
            if not link.is_symlink():
                link.symlink_to(folder)
        self.process = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTIBLE, "build", "--engine", "container", *arguments],
            env={**os.environ, "PYPCAPZC_HOME": str(home), **more},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def until(self, word: str) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))
            if word in line:
                return
        pytest.fail(f"it ended before it said {word!r}: {self.said}")

    def end(self) -> tuple[int, str]:
        _, rest = self.process.communicate(timeout=120)
        return self.process.returncode, (self.said + rest.splitlines())[-1]

    def left(self) -> list[Path]:
        kit_ = self.home / "cache" / "kit"
        runs = list((kit_ / "runs").glob("*")) if (kit_ / "runs").is_dir() else []
        work = list((kit_ / "work").iterdir()) if (kit_ / "work").is_dir() else []
        return [*runs, *work, *(self.home / "data").glob("lib/*"), *(kit_ / "builds").glob("*")]


# A shell that starts its jobs in the background has them ignore SIGINT.
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from pypcapzc.cli import main
sys.exit(main())
"""
BUILD = ("--target", SMALL, "--base-image", engine.BASE)


def test_what_a_container_may_do(image: str, client: Any, tmp_path: Path) -> None:
    running = Running(tmp_path, *BUILD)
    running.until("configure")
    (found,) = client.containers(filters={"label": f"{leftovers.LABEL}=build"})
    state = client.inspect_container(found["Id"])
    host = state["HostConfig"]
    inside = client.exec_create(found["Id"], ["sh", "-c", INSIDE])
    said = client.exec_start(inside["Id"]).decode().split()
    running.process.send_signal(signal.SIGINT)
    assert running.end()[0] == Exit.INTERRUPTED
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["Privileged"]) == ("none", True, False)
    assert host["CapDrop"] == ["ALL"]
    assert host["Memory"] == host["MemorySwap"] == 2 << 30
    assert host["PidsLimit"] == 512
    assert host["Binds"] is None
    assert [mount["Destination"] for mount in state["Mounts"]] == ["/build"]
    assert said == ["65534", "lo", "readonly", "CapEff:", "0000000000000000", "NoNewPrivs:", "1"]


INSIDE = """
id -u; ls /sys/class/net; touch /opt/x 2>/dev/null || echo readonly
grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status
"""


class TestInterrupted:
    @pytest.mark.parametrize(
        ("step", "number"),
        [
            ("unpacking", signal.SIGINT),
            ("copying", signal.SIGINT),
            ("configure", signal.SIGINT),
            ("configure", signal.SIGTERM),
            ("make", signal.SIGINT),
        ],
    )
    def test_nothing_is_left(
        self, image: str, client: Any, tmp_path: Path, step: str, number: signal.Signals
    ) -> None:
        running = Running(tmp_path, *BUILD)
        running.until(step)
        time.sleep(0.3 if step == "configure" else 0.0)
        running.process.send_signal(number)
        assert running.end() == (Exit.INTERRUPTED, "pypcapzc: interrupted")
        assert running.left() == []
        assert engine.left(client) == []

    @pytest.mark.parametrize("seconds", [0.0, 2.0])
    def test_an_image_in_the_making(
        self, image: str, client: Any, other_base: str, tmp_path: Path, seconds: float
    ) -> None:
        before = {found["Id"] for found in client.images(all=True)}
        running = Running(tmp_path, "--target", SMALL, "--base-image", other_base)
        running.until("making the image")
        time.sleep(seconds)
        running.process.send_signal(signal.SIGINT)
        assert running.end() == (Exit.INTERRUPTED, "pypcapzc: interrupted")
        assert engine.left(client) == []
        assert {found["Id"] for found in client.images(all=True)} <= before

    def test_what_a_killed_build_leaves_the_next_one_removes(
        self, image: str, client: Any, tmp_path: Path
    ) -> None:
        running = Running(tmp_path, *BUILD)
        running.until("configure")
        running.process.kill()
        running.end()
        assert len(engine.left(client)) == 2
        assert len(list((tmp_path / "cache" / "kit" / "runs").iterdir())) == 1
        following = Running(tmp_path, *BUILD)
        following.until("configure")
        assert any("which was killed, had left" in line for line in following.said)
        following.process.send_signal(signal.SIGINT)
        following.end()
        assert following.left() == []

    def test_a_living_build_is_left_alone(self, image: str, client: Any, tmp_path: Path) -> None:
        first = Running(tmp_path / "one", *BUILD)
        first.until("configure")
        second = Running(tmp_path / "one", "--target", "linux-arm64", "--base-image", engine.BASE)
        second.until("configure")
        assert len(engine.left(client)) == 4
        for running in (second, first):
            running.process.send_signal(signal.SIGINT)
            assert running.end()[0] == Exit.INTERRUPTED


@pytest.fixture(scope="module")
def other_base(client: Any) -> Iterator[str]:
    """Another base image than the one of which an image has been made."""
    name = "pypcapzc-test-other"
    changes = {"repository": name, "tag": "1", "changes": ["ENV OTHER=1"]}
    client.import_image(src=str(engine.folder() / "base.tar"), **changes)
    yield f"{name}:1"
    client.remove_image(f"{name}:1", force=True)


def _imported(client: Any, tmp_path: Path, name: str, program: Path | None) -> str:
    """An image with nothing but, perhaps, a shell."""
    with tarfile.open(tmp_path / "root.tar", "w") as archive:
        if program is not None:
            archive.add(program, "bin/sh")
        else:
            archive.add(Path(__file__), "nothing")
    client.import_image(src=str(tmp_path / "root.tar"), repository=name, tag="1")
    return f"{name}:1"


class EmptyRegistry(BaseHTTPRequestHandler):
    """A registry that has nothing; dockerd asks one on the loopback without TLS."""

    def do_GET(self) -> None:
        content = b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
        self.send_response(200 if self.path == "/v2/" else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


class TestImages:
    @pytest.fixture
    def no_tools(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where nothing comes of the image, none need be sent: they are 350 MB."""
        monkeypatch.setattr(wheels, "pack", lambda found, file: tarfile.open(fileobj=file, mode="w").close())

    def test_one_that_the_engine_cannot_run(self, client: Any, no_tools: None, tmp_path: Path) -> None:
        # The beginning of a program for arm64 (elf(5)): as far as an engine on amd64 gets.
        header = struct.pack(
            "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 183, 1, 0, 0, 0, 0, 64, 56, 0, 64, 0, 0
        )
        (tmp_path / "sh").write_bytes(header)
        (tmp_path / "sh").chmod(0o755)
        name = _imported(client, tmp_path, "pypcapzc-test-foreign", tmp_path / "sh")
        try:
            with pytest.raises(ImageError, match=r"cannot run the base image.*qemu-user-static"):
                driver.build(_request(base_image=name))
        finally:
            client.remove_image(name, force=True)

    def test_one_without_a_shell(self, client: Any, no_tools: None, tmp_path: Path) -> None:
        name = _imported(client, tmp_path, "pypcapzc-test-empty", None)
        try:
            with pytest.raises(ImageError, match=r"cannot be made on pypcapzc-test-empty:1.*--base-image"):
                driver.build(_request(base_image=name))
        finally:
            client.remove_image(name, force=True)

    @pytest.mark.parametrize("name", ["127.0.0.1:9/no/such:1", f"127.0.0.1:9/no/such@sha256:{'0' * 64}"])
    def test_one_that_cannot_be_had(self, name: str) -> None:
        with pytest.raises(ImageError, match=r"cannot be pulled.*--base-image.*--engine local"):
            driver.build(_request(base_image=name))

    def test_one_of_a_wrong_digest(self) -> None:
        with HTTPServer(("127.0.0.1", 0), EmptyRegistry) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            name = f"127.0.0.1:{server.server_port}/debian@sha256:{'0' * 64}"
            with pytest.raises(ImageError, match=r"is not in its registry.*pins refresh.*--base-image"):
                driver.build(_request(base_image=name))
            server.shutdown()

    def test_one_whose_name_is_none(self) -> None:
        with pytest.raises(ImageError, match=r"no name of an image.*--base-image"):
            driver.build(_request(base_image="No Image"))

    def test_auto_takes_a_container_where_the_image_is(self, image: str) -> None:
        said: list[str] = []
        for target in (SMALL, "freebsd-arm64"):
            chosen = engines.choose("auto", targets.parse(target), Options(engine.BASE), said.append)
            assert chosen.name == "container"
        assert all(line.startswith("engine: container (Docker ") for line in said)

    def test_auto_says_why_it_does_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        said: list[str] = []
        monkeypatch.setattr(artefacts, "image", lambda _key="base": artefacts.Image("docker.io/x/y:1", ""))
        assert engines.choose("auto", targets.parse(SMALL), Options(), said.append).name == "local"
        assert said[0].startswith("engine: local (the pin of the image docker.io/x/y:1 is empty")


class TestTrouble:
    def test_an_engine_that_dies(self, image: str, client: Any, tmp_path: Path) -> None:
        proxy = engine.Proxy(tmp_path / "sock")
        running = Running(tmp_path / "home", *BUILD, DOCKER_HOST=proxy.url)
        running.until("configure")
        proxy.cut()
        code, said = running.end()
        assert code == Exit.NO
        assert "went away in mid-build" in said
        assert "then build again" in said
        # It is back: the next build removes what this one could not.
        following = Running(tmp_path / "home", *BUILD)
        following.until("configure")
        assert any("had left" in line for line in following.said)
        following.process.send_signal(signal.SIGINT)
        following.end()
        assert following.left() == []

    def test_a_container_that_is_stopped(self, image: str, client: Any, tmp_path: Path) -> None:
        running = Running(tmp_path, *BUILD)
        running.until("configure")
        (found,) = client.containers(filters={"label": f"{leftovers.LABEL}=build"})
        client.kill(found["Id"])
        code, said = running.end()
        assert code == Exit.NO
        assert "stopped from outside" in said
        assert running.left() == []

    def test_too_little_memory(self, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
        options = functools.partial(Options, memory=24 << 20)
        monkeypatch.setattr(driver, "Options", options)
        with pytest.raises(BuildError, match="ran out of memory: the container has 24 MB"):
            driver.build(_request(force=True))

    def test_too_little_time(self, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(driver, "Job", functools.partial(Job, seconds=2))
        with pytest.raises(BuildError, match="was not done within 2 s"):
            driver.build(_request(force=True))

    def test_an_engine_without_space(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        where = Path(tempfile.mkdtemp(prefix="pypcapzc-"))  # shorter than tmp_path, for the engine's sockets
        size = (engine.folder() / "base.tar").stat().st_size * 2 + (200 << 20)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(where)], check=True)
        try:
            with engine.started(where) as small:
                monkeypatch.setenv("DOCKER_HOST", engine.url(where))
                with pytest.raises(NoSpaceError, match="disk of the container engine"):
                    driver.build(_request(force=True))
                assert engine.left(small) == []
                small.close()
        finally:
            subprocess.run(["umount", "-R", str(where)], check=True)
            where.rmdir()

    def test_a_compiler_that_fails(self, image: str, tmp_path: Path) -> None:
        pin = pins.pin_of(data.patches_dir(), driver.DEFAULT_LIBPCAP)
        broken = "--- a/missing/strlcat.c\n+++ b/missing/strlcat.c\n@@ -1,1 +1,2 @@\n+#error on purpose\n "
        broken += "/*\t$OpenBSD: strlcat.c,v 1.15 2015/03/02 21:41:08 millert Exp $\t*/\n"
        kit.patches(tmp_path / "p", driver.DEFAULT_LIBPCAP, pin.hashes()[0], {"1.patch": broken})
        with pytest.raises(BuildError, match="make failed with exit code") as caught:
            driver.build(_request(patches=tmp_path / "p"))
        assert any("strlcat.c" in line for line in caught.value.tail)
        assert "config.log" in caught.value.log.read_text()


def test_clean_removes_everything(client: Any, image: str) -> None:
    ours = {"label": f"{leftovers.LABEL}=image"}
    assert client.images(filters=ours) != []
    assert leftovers.remove_all(client) > 0
    assert client.images(filters=ours) == []
