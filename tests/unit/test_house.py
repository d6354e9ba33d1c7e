"""Who imports whom, and what importing the package costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pypcapzc

PACKAGE = Path(pypcapzc.__file__).parent

# From the design, top to bottom; within a row from left to right too.
ROWS = (
    "errors",
    "constants datalinks linktypes paths zstd",
    "libpcap",
    "platforms",
    "zerocopy companion",
    "leases block waker readiness handle filters counters",
    "fanout",
    "decode selection",
    "sources waiting dumper rotation dumping",
    "capture live savefile devices",
    "draining",
    "export workers",
    "scapy compat kit cli",
)
ORDER = [room for row in ROWS for room in row.split()]
# They know each other: the dumper writes what sources.records describes, and Block.field() is decode's.
PEERS = {frozenset(pair) for pair in (("sources", "dumper"), ("block", "decode"))}
ABOVE_ALL = {"__init__", "__main__"}  # the doors: they lead to every room


def _modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(parts), path


def _imported(module: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name, below the package, of everything of ours that a module imports anywhere."""
    folder = module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "pypcapzc":
                    yield node.lineno, alias.name.partition(".")[2]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = folder[: len(folder) - (node.level - 1)]
            elif (node.module or "").split(".")[0] == "pypcapzc":
                base = []
            else:
                continue
            name = (node.module or "").removeprefix("pypcapzc").lstrip(".") if not node.level else node.module
            stem = ".".join([*base, *([name] if name else [])])
            for alias in node.names:
                yield node.lineno, f"{stem}.{alias.name}".lstrip(".")


def _room(dotted: str) -> str:
    return dotted.split(".")[0]


def _complaints(module: str, tree: ast.AST) -> list[str]:
    """What is wrong with the imports of one module."""
    room, found = _room(module), []
    for line, name in _imported(module, tree):
        other = _room(name)
        if other == room or frozenset((room, other)) in PEERS:
            continue
        if other not in ORDER:
            # A name of the package itself (``from pypcapzc import open_live``) is for the doors and the cli.
            if not (room == "cli" or other == "__version__"):
                found.append(f"{module}:{line} takes {name} from the package's own namespace")
        elif ORDER.index(other) > ORDER.index(room):
            found.append(f"{module}:{line} imports {name}, which is below {room}")
    return found


def test_every_module_has_its_place() -> None:
    rooms = {_room(module) for module, _ in _modules()} - ABOVE_ALL
    assert rooms <= set(ORDER)


def test_no_import_runs_upward() -> None:
    complaints: list[str] = []
    for module, path in _modules():
        if module not in ABOVE_ALL:
            complaints += _complaints(module, ast.parse(path.read_text(), str(path)))
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(
    ("module", "code", "wrong"),
    [
        ("block", "from .capture import Capture", True),
        ("block", "def f():\n    from . import dumper", True),
        ("libpcap.loader", "from .. import zerocopy", True),
        ("libpcap.loader", "import pypcapzc.capture", True),
        ("sources.stock", "from pypcapzc.savefile import open_offline", True),
        ("errors", "from . import constants", True),
        ("handle", "from . import open_live", True),
        ("capture", "from .block import Block", False),
        ("sources.savefile", "from .stock import StockSource", False),
        ("libpcap.loader", "from .. import paths\nfrom .binaries import x", False),
        ("capture", "import time, ctypes\nfrom collections import abc", False),
    ],
)
def test_the_walk_sees_an_upward_import(module: str, code: str, wrong: bool) -> None:
    assert bool(_complaints(module, ast.parse(code))) is wrong


_IMPORT = """
import json, sys, time
before = set(sys.modules)
began = time.perf_counter()
import pypcapzc
seconds = time.perf_counter() - began
try:
    mapped = open("/proc/self/maps").read()
except OSError:
    mapped = ""
print(json.dumps({"seconds": seconds, "modules": sorted(set(sys.modules) - before), "maps": mapped}))
"""


def _import_once() -> tuple[float, list[str], str]:
    done = subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return found["seconds"], found["modules"], found["maps"]


def test_importing_loads_neither_libpcap_nor_an_option() -> None:
    _, modules, maps = _import_once()
    assert "pypcapzc" in modules
    assert "libpcap" not in maps
    options = {"numpy", "scapy", "docker", "click", "rich", "pyroute2", "hypothesis"}
    assert not options & {module.split(".")[0] for module in modules}


def test_importing_takes_less_than_50_ms() -> None:
    assert min(_import_once()[0] for _ in range(7)) < 0.05


def test_looking_names_up_loads_no_library() -> None:
    code = """
import pypcapzc
for name in pypcapzc.__all__:
    getattr(pypcapzc, name)
pypcapzc.libpcap.pcap_create
try:
    print("libpcap.so" in open("/proc/self/maps").read())
except OSError:
    print(False)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    with pytest.raises(AttributeError, match="nonsense"):
        _ = pypcapzc.nonsense
