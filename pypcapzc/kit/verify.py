"""What must be true of a library before it is kept: read from the file, and for this host by using it."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection

from ..libpcap.extension import PROTOTYPES as EXTENSION
from ..libpcap.prototypes import PROTOTYPES, Prototype
from .failures import VerificationError
from .recipe import SONAME
from .targets import Target

_HOST_SECONDS = 60.0


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; ``passed`` is None where it could not be, and ``detail`` says why."""

    name: str
    passed: bool | None
    detail: str

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def check(
    library: bytes, target: Target, version: str, *, patched: bool, forbidden: Iterable[Path] = ()
) -> list[Check]:
    """All checks that read the file.

    ``patched``: it must have our symbols; ``forbidden``: paths that it must not name.
    """
    try:
        elf = ELFFile(io.BytesIO(library))
        checks = list(_checks(elf, target, version, patched))
    except (ELFError, ValueError, UnicodeDecodeError) as error:
        raise VerificationError(
            f"what was built is no ELF file ({error}): build it again with --force"
        ) from error
    checks.append(_version_string(library, version))
    checks.append(_no_paths(library, forbidden))
    return checks


def demand(checks: Iterable[Check], what: str) -> None:
    """Raise VerificationError if one failed."""
    failed = [f"{check.name} ({check.detail})" for check in checks if check.passed is False]
    if failed:
        raise VerificationError(
            f"{what} was built but is not right: {', '.join(failed)}. It is not installed; "
            f"check the patches, or report this with the log"
        )


def _checks(elf: ELFFile, target: Target, version: str, patched: bool) -> Iterator[Check]:
    yield _equal("elf class", elf.elfclass, 64)
    yield _equal("type", elf["e_type"], "ET_DYN")
    yield _equal("machine", elf["e_machine"], target.machine)
    osabi = elf["e_ident"]["EI_OSABI"]
    yield Check("os abi", osabi in target.osabis, osabi)
    sonames, needed = _dynamic(elf)
    yield _equal("soname", ", ".join(sonames), SONAME)
    yield Check("needed libraries", target.needed >= set(needed), ", ".join(needed))
    exported = _exported(elf)
    missing = sorted(_expected(target, version) - exported)
    yield Check(
        "exported symbols", not missing, f"lacks {', '.join(missing)}" if missing else f"{len(exported)}"
    )
    yield _extension(exported, patched)
    yield _symbol_versions(elf, target)


def _equal(name: str, is_: object, must: object) -> Check:
    return Check(name, is_ == must, f"{is_}" if is_ == must else f"{is_}, not {must}")


def _dynamic(elf: ELFFile) -> tuple[list[str], list[str]]:
    """SONAME and NEEDED."""
    sonames, needed = [], []
    for section in elf.iter_sections():
        if isinstance(section, DynamicSection):
            for tag in section.iter_tags():
                if tag.entry.d_tag == "DT_SONAME":
                    sonames.append(str(vars(tag)["soname"]))
                elif tag.entry.d_tag == "DT_NEEDED":
                    needed.append(str(vars(tag)["needed"]))
    return sonames, needed


def _exported(elf: ELFFile) -> set[str]:
    table = elf.get_section_by_name(".dynsym")
    if not isinstance(table, SymbolTableSection):
        return set()
    return {
        str(symbol.name)
        for symbol in table.iter_symbols()
        if symbol.name and symbol["st_shndx"] != "SHN_UNDEF"
    }


def _expected(target: Target, version: str) -> set[str]:
    """The functions that this libpcap has on the target's system, from the ctypes layer's table."""
    return {row.name for row in PROTOTYPES.values() if _has(row, target, _numbers(version))}


def _has(row: Prototype, target: Target, version: tuple[int, ...]) -> bool:
    return (
        not row.remote
        and row.platform in (None, "unix", target.system)
        and _numbers(row.since) <= version
        and (row.until is None or version <= _numbers(row.until))
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _extension(exported: set[str], patched: bool) -> Check:
    ours = {name for name in exported if name.startswith("pcap_zc_")}
    if not patched:
        return Check(
            "zero-copy symbols",
            not ours,
            f"{len(ours)}, as the patches have none" if not ours else f"{len(ours)}",
        )
    missing = sorted(set(EXTENSION) - ours)
    return Check(
        "zero-copy symbols", not missing, f"lacks {', '.join(missing)}" if missing else f"{len(ours)}"
    )


def _symbol_versions(elf: ELFFile, target: Target) -> Check:
    name = "symbol versions"
    if target.symbol_limit is None:
        return Check(name, True, "none: the C library has no versions")
    prefix, newest = target.symbol_limit
    wanted = {
        str(auxiliary.name)
        for section in elf.iter_sections()
        if isinstance(section, GNUVerNeedSection)
        for _, auxiliaries in section.iter_versions()
        for auxiliary in auxiliaries
    }
    late = sorted(
        wanted - {version for version in wanted if _allowed(version, prefix, newest)},
        key=lambda text: (_numbers(text), text),
    )
    if late:
        return Check(name, False, f"needs {', '.join(late)}; the newest allowed is {prefix}_{newest}")
    return Check(name, True, f"up to {max(wanted, key=_numbers, default='none')}")


def _allowed(version: str, prefix: str, newest: str) -> bool:
    return bool(re.fullmatch(rf"{prefix}_[\d.]+", version)) and _numbers(version) <= _numbers(newest)


def _version_string(library: bytes, version: str) -> Check:
    found = re.search(rb"libpcap version [ -~]+", library)
    text = found[0].decode() if found else "none"
    return Check(
        "version string", re.match(rf"libpcap version {re.escape(version)}(?![\d.])", text) is not None, text
    )


def _no_paths(library: bytes, forbidden: Iterable[Path]) -> Check:
    named = [str(path) for path in forbidden if os.fsencode(path) in library]
    return Check("no path of this machine", not named, ", ".join(named) or "none")


def check_on_host(library: Path) -> list[Check]:
    """Load the library in a process of its own, and capture on loopback if this user may."""
    package = Path(__file__).parent.parent.parent
    known = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYPCAPZC_LIBPCAP": str(library),
        "PYTHONPATH": f"{package}{os.pathsep}{known}" if known else str(package),
    }
    command = [sys.executable, "-m", f"{__package__}.hostcheck"]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_HOST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return [Check("loads here", False, f"no answer within {_HOST_SECONDS:.0f} s")]
    try:
        return [Check(**row) for row in json.loads(done.stdout)]
    except (ValueError, TypeError):
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return [Check("loads here", False, last)]
