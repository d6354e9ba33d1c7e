"""A wheel of pypcapzc itself that brings the library along, where the loader looks for a bundled one."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from ... import companion
from .. import data
from .. import manifest as manifests
from ..failures import PackageError
from ..recipe import SONAME
from ..store import LICENSE
from ..targets import GLIBC, Target
from . import Content, Options

_PACKAGE = Path(__file__).parent.parent.parent
_BUNDLED = "pypcapzc/_bundled"
_CPUS = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}
_WHEEL = "Wheel-Version: 1.0\nGenerator: pypcapzc {version}\nRoot-Is-Purelib: false\n"


def tags(target: Target) -> list[str]:
    """The platforms it may be installed on."""
    cpu = _CPUS[target.machine]
    if "musl" in target.name:
        return [f"musllinux_1_2_{cpu}"]
    return [f"manylinux_{GLIBC.replace('.', '_')}_{cpu}", f"manylinux2014_{cpu}"]


def pack(content: Content, _options: Options) -> tuple[str, bytes]:
    """File name and content."""
    try:
        installed = metadata.distribution("pypcapzc")
    except metadata.PackageNotFoundError:
        raise PackageError(
            "pypcapzc is not installed, so nothing says what its wheel is: pip install it"
        ) from None
    version, platforms = installed.version, tags(content.target)
    info = f"pypcapzc-{version}.dist-info"
    wheel = _WHEEL.format(version=version) + "".join(f"Tag: py3-none-{tag}\n" for tag in platforms)
    files = dict(_code())
    files |= {
        f"{_BUNDLED}/{SONAME}": content.library,
        f"{_BUNDLED}/manifest.json": manifests.dump(content.manifest).encode(),
        f"{_BUNDLED}/{LICENSE}": content.license,
        f"{info}/METADATA": (installed.read_text("METADATA") or "").encode(),
        f"{info}/WHEEL": wheel.encode(),
        f"{info}/entry_points.txt": (installed.read_text("entry_points.txt") or "").encode(),
    }
    if content.companion is not None:
        files[f"{_BUNDLED}/{companion.FILE}"] = content.companion
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content_ in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if name.startswith(f"{_BUNDLED}/lib") else 0o100644) << 16
            archive.writestr(entry, content_)
    return f"pypcapzc-{version}-py3-none-{'.'.join(platforms)}.whl", raw.getvalue()


def _code() -> Iterator[tuple[str, bytes]]:
    """The package as it runs here, with the data that lies beside it in a source tree."""
    for path in sorted(_PACKAGE.rglob("*")):
        inside = path.relative_to(_PACKAGE)
        if (
            path.is_file()
            and "__pycache__" not in inside.parts
            and inside.parts[0] not in ("_data", "_bundled")
        ):
            yield f"pypcapzc/{inside.as_posix()}", path.read_bytes()
    for name, folder in (("patches", data.patches_dir()), ("docker", data.docker_dir())):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield f"pypcapzc/_data/{name}/{path.relative_to(folder).as_posix()}", path.read_bytes()


def _record(files: dict[str, bytes], own: str) -> bytes:
    rows = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for name, data in files.items()
    ]
    return "\n".join([*rows, f"{own},,", ""]).encode()
