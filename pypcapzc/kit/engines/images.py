"""The build image: looked up, or made from ``docker/*/Dockerfile`` by the engine's classic builder.

Its name is a hash of all that goes in, so that a changed script, tool or base makes another image.  It is
made without a network: what it takes is fetched, and checked, on the host.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ... import paths
from .. import artefacts, data, wheels
from ..failures import ImageError, NoSpaceError
from ..sysroots import Sysroot
from . import Options, Report, leftovers
from .discovery import Connection

REPOSITORY = "pypcapzc-build"
_FULL = ("no space left on device", "disk quota exceeded")


@dataclass(frozen=True)
class Base:
    """A base image that the engine has."""

    reference: str
    identity: str
    processor: str


def wanted_base(options: Options) -> str:
    """Which base image it shall be; PinError where none is named and none pinned."""
    return options.base_image or artefacts.pinned_image().reference


def present(connection: Connection, reference: str) -> Base | None:
    """A base image, if the engine has it."""
    from docker.errors import APIError, NotFound

    try:
        image = connection.client.inspect_image(reference)
    except NotFound:
        return None
    except APIError as error:
        raise ImageError(f"{reference!r} is no name of an image ({said(error)}): see --base-image") from None
    return Base(reference, image["Id"], image["Architecture"])


def tag_of(base: Base, sysroot: Sysroot | None) -> str:
    """The name of the build image made of this base, and of all else that goes in."""
    what: list[str] = [base.identity, str(wheels.LAYOUT)]
    what += [wheel.sha256 for wheel in artefacts.wheels(base.processor)]
    for path in _files(sysroot):
        what += [path.name, hashlib.sha256(path.read_bytes()).hexdigest()]
    if sysroot is not None:
        what.append(sysroot.sha256)
    return f"{REPOSITORY}:{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]}"


def _files(sysroot: Sysroot | None) -> list[Path]:
    docker = data.docker_dir()
    folders = ["linux"] if sysroot is None else ["linux", "freebsd"]
    return [docker / name / "Dockerfile" for name in folders] + sorted((docker / "scripts").glob("*.sh"))


def there(connection: Connection, options: Options, sysroot: Sysroot | None) -> str | None:
    """The build image, if it has been made."""
    base = present(connection, wanted_base(options))
    if base is None or base.processor not in artefacts.PROCESSORS:
        return None
    tag = tag_of(base, sysroot)
    return tag if present(connection, tag) else None


def ensure(
    connection: Connection, options: Options, sysroot: Sysroot | None, report: Report
) -> tuple[Base, str]:
    """The base and the name of the build image, which is made if it is not there."""
    reference = wanted_base(options)
    base = present(connection, reference) or _pulled(connection, reference, report)
    if base.processor not in artefacts.PROCESSORS:
        raise ImageError(
            f"the base image {reference} is for {base.processor}, for which there are no tools: name one for "
            f"{' or '.join(artefacts.PROCESSORS)} with --base-image"
        )
    tag = tag_of(base, sysroot)
    with leftovers.held(paths.cache_dir() / "kit" / "locks" / "image"):
        if present(connection, tag) is None:
            _make(connection, options, base, sysroot, report)
    return base, tag


def _pulled(connection: Connection, reference: str, report: Report) -> Base:
    from docker.errors import DockerException

    report(f"pulling {reference}")
    name, _, digest = reference.partition("@")
    repository, _, tag = (
        name.rpartition(":") if not digest and "/" not in name.rpartition(":")[2] else ("", "", "")
    )
    try:
        for event in connection.client.pull(
            repository or name, tag=digest or tag or "latest", stream=True, decode=True
        ):
            if "error" in event:
                raise ImageError(_cannot_pull(reference, event["error"]))
    except (DockerException, OSError) as error:
        if _is_full(str(error)):
            raise NoSpaceError(None) from None
        raise ImageError(_cannot_pull(reference, said(error))) from None
    found = present(connection, reference)
    if found is None:
        raise ImageError(_cannot_pull(reference, "the engine does not have it after the pull"))
    return found


def _cannot_pull(reference: str, reason: str) -> str:
    if "manifest unknown" in reason or "manifest for" in reason:
        return (
            f"the image {reference} is not in its registry ({reason}): the digest or tag is wrong; "
            f"`{artefacts.REFRESH}` reads the present one, --base-image names another image"
        )
    return (
        f"the image {reference} cannot be pulled ({reason}): see that the engine reaches the registry (it "
        f"has its own settings for proxies and authorities), load it with `docker load`, name one that is "
        f"there with --base-image, or build with --engine local"
    )


def _make(
    connection: Connection, options: Options, base: Base, sysroot: Sysroot | None, report: Report
) -> None:
    """Make the image with the tools, and on it, if there is a sysroot, the one with that."""
    tools = tag_of(base, None)
    leftovers.prune_images(connection.client)
    if present(connection, tools) is None:
        cache = paths.cache_dir() / "kit" / "wheels"
        found = wheels.fetched(base.processor, cache, options.trust, report)
        report("packing the tools for the image")
        with tempfile.TemporaryFile(dir=cache) as archive:
            wheels.pack(found, archive)
            context = _Context("linux", {"tools.tar": archive}, scripts=True)
            _build(connection, base, base.identity, tools, context, report)
    if sysroot is not None:
        with sysroot.archive() as archive:
            _build(
                connection,
                base,
                tools,
                tag_of(base, sysroot),
                _Context("freebsd", {"sysroot.tar": archive}),
                report,
            )


@dataclass(frozen=True)
class _Context:
    """What a Dockerfile is given."""

    folder: str
    archives: Mapping[str, IO[bytes]]
    scripts: bool = False

    def write(self, file: IO[bytes]) -> None:
        """As the archive that an engine takes."""
        docker = data.docker_dir()
        with tarfile.open(fileobj=file, mode="w") as archive:
            wheels.add(archive, "Dockerfile", (docker / self.folder / "Dockerfile").read_bytes())
            for path in sorted((docker / "scripts").glob("*.sh")) if self.scripts else ():
                wheels.add(archive, f"scripts/{path.name}", path.read_bytes())
            for name, content in self.archives.items():
                member = tarfile.TarInfo(name)
                member.size = content.seek(0, 2)
                content.seek(0)
                archive.addfile(member, content)
        file.seek(0)


def _build(
    connection: Connection, base: Base, below: str, tag: str, context: _Context, report: Report
) -> None:
    """Have the engine run a Dockerfile; nothing of it is left if that fails or is interrupted."""
    from docker.errors import DockerException

    report(f"making the image {tag}")
    output: list[str] = []
    done = False
    try:
        with tempfile.TemporaryFile(dir=paths.cache_dir() / "kit") as file:
            context.write(file)
            for event in connection.client.build(
                fileobj=file,
                custom_context=True,
                tag=tag,
                rm=True,
                forcerm=True,
                network_mode="none",
                buildargs={"BASE": below},
                use_config_proxy=False,
                decode=True,
                timeout=600,
            ):
                output += str(event.get("stream", "")).splitlines()
                if "error" in event:
                    raise ImageError(_cannot_make(base, event["error"], output))
        done = True
    except (DockerException, OSError) as error:
        if _is_full(str(error)):
            raise NoSpaceError(None) from None
        raise ImageError(_cannot_make(base, said(error), output)) from None
    except ImageError as error:
        if _is_full(str(error)):
            raise NoSpaceError(None) from None
        raise
    finally:
        if not done:
            _clean(connection)


def _clean(connection: Connection) -> None:
    """The engine notices after a moment that nobody waits for the image any more."""
    import time

    quiet = 0
    for _ in range(20):
        try:
            quiet = 0 if leftovers.prune_images(connection.client) else quiet + 1
        except Exception:
            return  # the engine is gone; the next image is made after a look for what is left
        if quiet == 3:
            return
        time.sleep(0.3)


def _cannot_make(base: Base, reason: str, output: Iterable[str]) -> str:
    if "exec format error" in f"{reason}{' '.join(output)}":
        return (
            f"the engine cannot run the base image {base.reference}, which is for {base.processor}: "
            f"name one for the engine's own processor with --base-image, or install qemu-user-static there"
        )
    plain = [re.sub(r"\x1b\[[\d;]*m", "", line).strip() for line in output]
    spoken = [
        line for line in plain if line and not line.startswith(("--->", "Step ", "Removing intermediate"))
    ]
    last = spoken[-1] if spoken else reason
    return f"the image cannot be made on {base.reference} ({last}): name another with --base-image"


def _is_full(text: str) -> bool:
    return any(words in text.lower() for words in _FULL)


def said(error: BaseException) -> str:
    """The words of an engine's error."""
    return " ".join(str(getattr(error, "explanation", None) or error).split())
