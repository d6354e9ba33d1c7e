"""The container engine: the local engine's tools and script, in a container that can do nothing else.

It has no network, a root file system that it cannot write to, no capability, an ordinary user, and limits
for memory, processes and time.  What it works on is copied into a volume of its own and out again, so that
the engine may be on another machine.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from ... import paths
from .. import artefacts, recipe, toolchain, wheels
from ..failures import BuildError, EngineError, EngineLostError, KitError, NoSpaceError, ToolError
from ..targets import Target
from ..toolchain import Tool, Toolchain
from . import Job, Options, discovery, images, leftovers
from .discovery import Connection
from .leftovers import Run
from .progress import Progress

_LOOK = 0.25
_SHORT = 3.0
"""Seconds for an engine to answer where another would do."""
_USER = 65534
_WORK = Path("/build/job")
_OPT = Path("/opt/pypcapzc")
"""Both inside the container, which has its own file system."""


class ContainerEngine:
    """Builds in a container.  Nothing is asked of an engine before it is needed."""

    name = "container"

    def __init__(self, options: Options) -> None:
        if find_spec("docker") is None:
            raise ToolError(f"docker-py is not installed here: {discovery.INSTALL}")
        if reason := toolchain.why_no_checks():
            raise ToolError(reason)
        self._options = options
        self._connection: Connection | None = None
        self._base: images.Base | None = None
        self._pins = {wheel.name: wheel for wheel in artefacts.wheels(artefacts.PROCESSORS[0])}

    def _version(self, name: str) -> str:
        return f"{name} {self._pins[name].version}"

    def identity(self, target: Target) -> dict[str, str]:
        """As the local engine's, and that it is a container, on which base."""
        return {
            "zig": self._version("ziglang"),
            "flex": self._version("flex-bin"),
            "bison": self._version("bison-bin"),
            "sysroot": self.sysroot(target),
            "engine": self.name,
            "base": self._options.base_image or artefacts.image().digest,
        }

    def versions(self) -> dict[str, str]:
        """The versions of all its tools, the engine and the base among them."""
        found = {key: self.identity_part(key) for key in ("zig", "flex", "bison", "m4", "make")}
        if self._connection is not None and self._base is not None:
            found["engine"] = self._connection.version
            found["base"] = f"{self._base.reference} ({self._base.identity})"
        return found

    def identity_part(self, tool: str) -> str:
        """The version of one tool."""
        names = {
            "zig": "ziglang",
            "flex": "flex-bin",
            "bison": "bison-bin",
            "m4": "cmeel-m4",
            "make": "gnumake",
        }
        return self._version(names[tool])

    def sysroot(self, target: Target) -> str:
        """zig's own headers and libraries, or FreeBSD's."""
        return recipe.sysroot_name(target, self._version("ziglang"))

    def where(self) -> str:
        """The engine that answered."""
        return str(self._connection)

    def why_not(self, *, make_image: bool) -> str | None:
        """Why nothing can be built here, or only by making an image first; None where it can."""
        try:
            if self._connection is None:
                self._connection = discovery.connect(_SHORT)
            if images.there(self._connection, self._options, None):
                return None
            if not make_image:
                version = self._connection.version
                return f"{version} answers, but has no image of ours yet; --engine container makes it"
            images.wanted_base(self._options)
        except KitError as error:
            return str(error)
        return None

    def build(self, job: Job) -> Path:
        """Configure and compile."""
        if self._connection is None or self._connection.client.timeout == _SHORT:
            self._connection = discovery.connect()
        with _errors_named(self._connection):
            self._base, tag = images.ensure(self._connection, self._options, job.target.sysroot, job.report)
            runs = paths.cache_dir() / "kit" / "runs"
            leftovers.sweep(self._connection.client, runs, job.report)
            with leftovers.ending_cleanly() as ignore_signals:
                run = Run(runs)
                clean = False
                try:
                    return _Container(self._connection.client, self._options, job, run).build(tag)
                finally:
                    ignore_signals()
                    clean = _cleaned(self._connection, run)
                    run.close(clean=clean)


def _cleaned(connection: Connection, run: Run) -> bool:
    """Remove what the run started; an engine that is just restarting gets some seconds."""
    for _ in range(10):
        try:
            return leftovers.remove(connection.client, run.name)
        except Exception:
            time.sleep(0.5)
    return False


@contextmanager
def _errors_named(connection: Connection) -> Iterator[None]:
    """Turn what docker-py and the layers under it raise into errors of ours."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except APIError as error:
        text = images.said(error)
        if "no space left" in text.lower():
            raise NoSpaceError(None) from None
        raise EngineError(
            f"{connection} refused: {text}; see its log, or build with --engine local"
        ) from error
    except (RequestException, DockerException) as error:
        raise EngineLostError(
            f"{connection} went away in mid-build ({discovery.reason(error)}): see that it runs (systemctl "
            f"status docker), then build again; what it still holds of this build is removed then"
        ) from error


def toolchain_in(folder: Path, versions: dict[str, str]) -> Toolchain:
    """The tools as the archive for the image has them, below a folder."""
    tools = {name: Tool(name, folder / place, versions[name]) for name, place in wheels.PROGRAMS.items()}
    return Toolchain(**tools, patch=Tool("patch", Path("patch"), "unknown"))


class _Container:
    """One container and its volume."""

    def __init__(self, client: Any, options: Options, job: Job, run: Run) -> None:
        self._client = client
        self._options = options
        self._job = job
        self._run = run

    def build(self, tag: str) -> Path:
        """From an empty volume to the library."""
        self._create(tag)
        self._job.report("copying the sources in")
        with tempfile.TemporaryFile(dir=self._job.work) as archive:
            self._pack(archive)
            archive.seek(0)
            self._client.put_archive(self._run.name, str(_WORK.parent), archive)
        progress = Progress(self._job)
        self._client.start(self._run.name)
        state = self._followed(progress)
        if code := state["ExitCode"]:
            raise self._failure(progress, code, state)
        name = f"libpcap.so.{self._job.version}"
        library = self._job.work / recipe.BUILD / name
        library.parent.mkdir()
        library.write_bytes(self._read(_WORK / recipe.BUILD / name))
        return library

    def _create(self, tag: str) -> None:
        client, name = self._client, self._run.name
        client.create_volume(name, labels=self._run.labels)
        own_headers = self._job.target.sysroot is not None
        environment = recipe.environment(
            _WORK, f"{_OPT}/bin:/usr/local/bin:/usr/bin:/bin", _WORK / "zig", own_headers=own_headers
        )
        processors = client.info().get("NCPU", 2)
        client.create_container(
            tag,
            [
                *("timeout", "-k", "5", f"{self._job.seconds:.0f}"),
                *("sh", str(_OPT / "scripts" / "compile.sh"), self._job.version, str(processors)),
                *recipe.configure_arguments(self._job.target),
            ],
            name=name,
            user=f"{_USER}:{_USER}",
            working_dir=str(_WORK),
            environment=dict(environment),
            labels=self._run.labels,
            host_config=client.create_host_config(
                mounts=[{"Type": "volume", "Source": name, "Target": str(_WORK.parent)}],
                network_mode="none",
                read_only=True,
                tmpfs={"/tmp": "rw,nosuid,nodev,size=64m"},
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                mem_limit=self._options.memory,
                memswap_limit=self._options.memory,
                pids_limit=self._options.processes,
                # Where none are given podman asks for more than root may have in a container of its own.
                ulimits=[{"Name": name, "Soft": 4096, "Hard": 4096} for name in ("nofile", "nproc")],
                log_config={"Type": "json-file", "Config": {"max-size": "64m"}},
            ),
        )

    def _pack(self, file: IO[bytes]) -> None:
        """The sources and the tools' wrappers, owned by the container's user."""
        work, target = self._job.work, self._job.target
        versions = dict.fromkeys(wheels.PROGRAMS, "")
        wrappers = work / recipe.TOOLS
        toolchain_in(_OPT, versions).write_wrappers(wrappers, recipe.compiler_flags(target, _WORK))
        if target.sysroot is not None:
            recipe.write_libc_file(wrappers, _OPT / "sysroot")

        def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.uid = member.gid = _USER
            member.uname = member.gname = ""
            return member

        with tarfile.open(fileobj=file, mode="w") as archive:
            folder = owned(tarfile.TarInfo(_WORK.name))
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
            for name in (recipe.SOURCES, recipe.TOOLS):
                archive.add(work / name, f"{_WORK.name}/{name}", filter=owned)

    def _followed(self, progress: Progress) -> dict[str, Any]:
        """Wait for its end, with the log as it comes; returns the state in which it ended."""
        reader = threading.Thread(target=self._copy_log, daemon=True)
        reader.start()
        # The container ends itself when its time is up; an engine that does not tell is not waited for.
        deadline = time.monotonic() + self._job.seconds + 15
        while (state := self._client.inspect_container(self._run.name)["State"])["Running"]:
            if time.monotonic() > deadline:
                raise progress.failure(f"{progress.step} was not done within {self._job.seconds:.0f} s", None)
            time.sleep(_LOOK)
            progress.look()
        reader.join(10)
        progress.look()
        ended: dict[str, Any] = state
        return ended

    def _copy_log(self) -> None:
        try:
            with self._job.log.open("ab", buffering=0) as log:
                for chunk in self._client.logs(self._run.name, stream=True, follow=True):
                    log.write(chunk)
        except Exception:
            return  # whoever waits for the container sees what is wrong

    def _failure(self, progress: Progress, code: int, state: dict[str, Any]) -> KitError:
        if state.get("OOMKilled"):
            return BuildError(
                f"{progress.step} ran out of memory: the container has {self._options.memory >> 20} MB; "
                f"build with --engine local, or report this with the log {self._job.log}",
                self._job.log,
                [],
            )
        if code == 124:
            return progress.failure(f"{progress.step} was not done within {self._job.seconds:.0f} s", None)
        error = progress.failure(f"{progress.step} failed with exit code {code}", None)
        if code in (137, 143) and isinstance(error, BuildError):
            return EngineLostError(
                f"the container was stopped from outside during {progress.step} (exit code {code}), as when "
                f"the engine is restarted: build again"
            )
        try:
            progress.add_detail(self._read(_WORK / recipe.BUILD / "config.log"))
        except Exception:
            pass  # it may not have got that far
        return error

    def _read(self, path: Path) -> bytes:
        """One file out of the container."""
        chunks, _ = self._client.get_archive(self._run.name, str(path))
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            member = archive.next()
            file = archive.extractfile(member) if member is not None and member.isreg() else None
            if file is None:
                raise EngineLostError(f"the container has no {path.name} to show: build again")
            return file.read()
