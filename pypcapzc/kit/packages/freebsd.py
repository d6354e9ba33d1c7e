"""A package that FreeBSD's pkg(8) installs: ``pkg add FILE``.

The format (pkg-create(8), and what FreeBSD's own packages look like): a compressed tar archive whose first
members are ``+COMPACT_MANIFEST`` and ``+MANIFEST``, in UCL, of which JSON is a part; then the files, by their
absolute names.  ``+MANIFEST`` has ``1$`` and the sha256 of each.

The library stands beside the base system's (libpcap.so.8) and the port's (/usr/local/lib/libpcap.so.1), in a
folder of its own that ldconfig is told of.  With ``in_place`` it is called libpcap.so.8 too, and
libmap.conf(5) gives it to every program that asks for that name; removing the package gives them the base
system's back.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import tarfile
from typing import Any

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from ..failures import PackageError
from ..recipe import SONAME
from ..targets import Target
from . import EPOCH, Content, Options

BASE_SONAME = "libpcap.so.8"
FOLDER = "/usr/local/lib/pypcapzc"
_PROCESSORS = {"EM_X86_64": ("amd64", "x86:64"), "EM_AARCH64": ("aarch64", "aarch64:64")}
_COMMENT = "libpcap with zero-copy BPF that works"
_DESCRIPTION = """\
libpcap with patches that repair zero-copy BPF and let programs have packets without copying them.

{where}

Zero-copy takes net.bpf.zerocopy_enable=1 in /etc/sysctl.conf.
"""
_BESIDE = f"""\
It stands beside the base system's libpcap.so.8, which stays in use: {FOLDER}/{SONAME} is for programs
linked with libpcap.so.1, and for pypcapzc with PYPCAPZC_LIBPCAP set to that path."""
_IN_PLACE = """\
Programs that ask for the base system's libpcap.so.8 get this one, by
/usr/local/etc/libmap.d/pypcapzc.conf."""
_LDCONFIG = "/usr/sbin/service ldconfig restart >/dev/null 2>&1 || true\n"


def pack(content: Content, options: Options) -> tuple[str, bytes]:
    """File name and content."""
    name = "pypcapzc-libpcap-base" if options.in_place else "pypcapzc-libpcap"
    files = _files(content, name, options)
    full = _manifest(content, name, files, options)
    compact = {key: value for key, value in full.items() if key not in ("files", "scripts")}
    members = {"+COMPACT_MANIFEST": _ucl(compact), "+MANIFEST": _ucl(full), **files}
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, data in members.items():
            member = tarfile.TarInfo(path)
            member.size, member.mtime = len(data), EPOCH
            member.uname, member.gname = "root", "wheel"
            member.mode = 0o755 if data[:4] == b"\x7fELF" else 0o644
            archive.addfile(member, io.BytesIO(data))
    cpu = _PROCESSORS[content.target.machine][0]
    suffix = f"-{content.target.release}" if content.target.release else ""
    return f"{name}-{content.version}-freebsd{suffix}-{cpu}.pkg", lzma.compress(raw.getvalue(), preset=6)


def _files(content: Content, name: str, options: Options) -> dict[str, bytes]:
    soname = BASE_SONAME if options.in_place else SONAME
    library = renamed(content.library, BASE_SONAME) if options.in_place else content.library
    share = f"/usr/local/share/licenses/{name}-{content.version}"
    manifest = {**content.manifest, "soname": soname, "sha256": hashlib.sha256(library).hexdigest()}
    files = {
        f"{FOLDER}/{soname}": library,
        f"/usr/local/share/{name}/manifest.json": _ucl(manifest),
        f"{share}/BSD3CLAUSE": content.license,
    }
    if options.in_place:
        # One line maps the name for every program; the base system's /etc/libmap.conf reads this folder.
        files["/usr/local/etc/libmap.d/pypcapzc.conf"] = f"{BASE_SONAME} {FOLDER}/{soname}\n".encode()
    else:
        files["/usr/local/libdata/ldconfig/pypcapzc"] = f"{FOLDER}\n".encode()
    return files


def _manifest(content: Content, name: str, files: dict[str, bytes], options: Options) -> dict[str, Any]:
    abi, arch = abi_of(content.target)
    full = {
        "name": name,
        "origin": f"net/{name}",
        "version": content.version,
        "comment": _COMMENT,
        "maintainer": "root@localhost",
        "www": "https://www.tcpdump.org/",
        "abi": abi,
        "arch": arch,
        "prefix": "/usr/local",
        "flatsize": sum(map(len, files.values())),
        "licenselogic": "single",
        "licenses": ["BSD3CLAUSE"],
        "desc": _DESCRIPTION.format(where=_IN_PLACE if options.in_place else _BESIDE),
        "categories": ["net"],
        "annotations": {"pypcapzc": content.manifest["pypcapzc"], "key": content.manifest["key"]},
        "files": {path: f"1${hashlib.sha256(data).hexdigest()}" for path, data in files.items()},
    }
    if not options.in_place:
        full["shlibs_provided"] = [SONAME]
        full["scripts"] = {"post-install": _LDCONFIG, "post-deinstall": _LDCONFIG}
    return full


def abi_of(target: Target) -> tuple[str, str]:
    """pkg's names for what it runs on: every FreeBSD from 13.2, of which only the processor must be right.

    pkg compares its own ABI with this by fnmatch(3).
    """
    cpu, old = _PROCESSORS[target.machine]
    return f"FreeBSD:*:{cpu}", f"freebsd:*:{old}"


def _ucl(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"


def renamed(library: bytes, soname: str) -> bytes:
    """The library under another SONAME of the same length, which is all that changes."""
    elf = ELFFile(io.BytesIO(library))
    section = elf.get_section_by_name(".dynamic")
    assert isinstance(section, DynamicSection)
    (offset,) = [tag.entry.d_val for tag in section.iter_tags() if tag.entry.d_tag == "DT_SONAME"]
    names = elf.get_section_by_name(".dynstr")
    assert names is not None
    start = names["sh_offset"] + offset
    old = SONAME.encode() + b"\0"
    if library[start : start + len(old)] != old or len(soname) != len(SONAME):
        raise PackageError(f"the library's SONAME is not {SONAME}: build it again with --force")
    # The linker may have let a longer name end in this one; then it would change as well.
    if library[start - 1 : start] != b"\0":
        raise PackageError("the library's SONAME is the end of another of its names: it cannot be changed")
    return library[:start] + soname.encode() + library[start + len(soname) :]
