"""Building the companion library (pypcapzc/companion/csrc) for a target: one call of the compiler, kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from .. import companion, paths
from . import recipe, toolchain
from .failures import BuildError
from .sources import incoming
from .targets import Target

FILE = companion.FILE
SOURCES = Path(companion.__file__).parent / "csrc"
WARNINGS = ("-std=c99", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror")
_FLAGS = ("-O2", "-g0", "-fPIC", "-shared", "-Wl,-S", "-Wl,--build-id=none", f"-Wl,-soname,{FILE}")


def build(target: Target) -> bytes:
    """The library.  Raises ToolError where the compiler is not installed, BuildError where it fails."""
    zig = toolchain.find().zig
    flags = [*recipe.compiler_flags(target, SOURCES), *WARNINGS, *_FLAGS]
    what = [zig.version, *flags[:2], *flags[3:], *(path.read_text() for path in sorted(SOURCES.iterdir()))]
    key = hashlib.sha256("\0".join(what).encode()).hexdigest()
    kept = paths.cache_dir() / "kit" / "companion" / f"{key}.so"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with incoming(kept) as temporary:
            _compile(zig.path, flags, temporary)
    return kept.read_bytes()


def _compile(zig: Path, flags: list[str], result: Path) -> None:
    cache = str(paths.cache_dir() / "kit" / "zig")
    done = subprocess.run(
        [str(zig), "cc", *flags, "-o", str(result), *map(str, sorted(SOURCES.glob("*.c")))],
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": cache,
            "LC_ALL": "C",
            "SOURCE_DATE_EPOCH": "315532800",
            "ZIG_GLOBAL_CACHE_DIR": cache,
            "ZIG_LOCAL_CACHE_DIR": cache,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        log = result.parent / "failed.log"
        log.write_text(done.stderr)
        raise BuildError("the companion library did not compile", log, done.stderr.splitlines()[-20:])
