"""A tarball for Linux: the library, its manifest and its license in one folder."""

from __future__ import annotations

import io
import lzma
import tarfile

from .. import manifest as manifests
from ..recipe import SONAME
from ..store import LICENSE
from . import EPOCH, Content, Options


def pack(content: Content, _options: Options) -> tuple[str, bytes]:
    """File name and content."""
    name = f"libpcap-zc-{content.version}-{content.target.folder}"
    files = {
        f"{name}/lib/{SONAME}": content.library,
        f"{name}/manifest.json": manifests.dump(content.manifest).encode(),
        f"{name}/{LICENSE}": content.license,
    }
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        link = tarfile.TarInfo(f"{name}/lib/libpcap.so")
        link.type, link.linkname, link.mtime = tarfile.SYMTYPE, SONAME, EPOCH
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mtime = len(data), EPOCH
            member.mode = 0o755 if path.endswith(SONAME) else 0o644
            archive.addfile(member, io.BytesIO(data))
        archive.addfile(link)
    return f"{name}.tar.xz", lzma.compress(raw.getvalue(), preset=6)
