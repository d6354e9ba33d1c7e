"""The patch only adds: what was built for the stock library finds everything as it was."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lab import netns, savefiles
from support import headers
from support.patches import Built

pytestmark = [pytest.mark.kit, pytest.mark.cc, pytest.mark.timeout(300)]


def exported(built: Built) -> dict[str, str]:
    """Name -> kind, of what the shared library defines."""
    lines = headers.run("nm", "-D", "--defined-only", str(built.library)).splitlines()
    return {name: kind for _, kind, name in (line.split() for line in lines)}


def needed(built: Built) -> list[str]:
    text = headers.run("readelf", "-d", str(built.library))
    return sorted(re.findall(r"\((?:NEEDED|SONAME)\).*\[(.*)\]", text))


def test_symbols_are_only_added(stock: Built, patched: Built) -> None:
    before, after = exported(stock), exported(patched)
    assert before.items() <= after.items()
    added = after.keys() - before.keys()
    assert {"pcap_zc_abi", "pcap_zc_next", "pcap_zc_release", "pcap_zc_wakeup"} <= added
    assert all(name.startswith("pcap_zc_") for name in added)


def test_it_needs_the_libraries_that_stock_needs(stock: Built, patched: Built) -> None:
    assert needed(patched) == needed(stock)


@pytest.mark.skipif(shutil.which("abidiff") is None, reason="needs abidiff (Debian: abigail-tools)")
def test_the_interface_is_only_added_to(stock: Built, patched: Built) -> None:
    # What pcap-int.h alone defines, such as struct pcap, is nobody else's.
    public: list[str | Path] = ["--headers-dir1", stock.source / "pcap"]
    public += ["--headers-dir2", patched.source / "pcap"]
    done = subprocess.run(
        ["abidiff", *public, stock.library, patched.library], capture_output=True, text=True, check=False
    )
    # The bits of the exit code: 1 error, 2 usage, 4 changed, 8 changed incompatibly.
    assert done.returncode & ~4 == 0, done.stdout + done.stderr
    summary = r"^(\w+) changes summary: (\d+) Removed, (\d+) Changed.*, (\d+) Added"
    functions, variables = re.findall(summary, done.stdout, re.MULTILINE)
    assert functions[:3] == ("Functions", "0", "0"), done.stdout
    assert int(functions[3]) >= 4
    assert variables == ("Variables", "0", "0", "0"), done.stdout


def test_no_constant_and_no_public_type_is_changed(stock: Built, patched: Built) -> None:
    """Header by header: every line of code of the stock headers is still there, in its order."""
    for path in sorted((stock.source / "pcap").glob("*.h")):
        before, after = (_code(folder / "pcap" / path.name) for folder in (stock.source, patched.source))
        rest = iter(after)
        missing = [line for line in before if line not in rest]
        assert not missing, f"pcap/{path.name}: {missing}"


def _code(path: Path) -> list[str]:
    return headers.run("gcc", "-fpreprocessed", "-dD", "-P", "-E", str(path)).splitlines()


@pytest.mark.parametrize("standard", ["c90", "c99", "c++98", "c++17"])
def test_the_header_is_taken_by_any_compiler(newest_patched: Built, standard: str) -> None:
    language = "c++" if "++" in standard else "c"
    if language == "c++" and shutil.which("g++") is None:
        pytest.skip("needs g++")
    # As a system header, like the one installed: libpcap's own are not pedantic C90.
    headers.run(
        *("gcc", "-x", language, f"-std={standard.replace('c++', 'gnu++').replace('c9', 'gnu9')}"),
        *("-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{newest_patched.source}", "-"),
        input="#include <pcap/zc.h>\nint main(void) { return pcap_zc_abi() == PCAP_ZC_ABI; }\n",
    )


@pytest.mark.netns
def test_a_program_made_for_the_stock_library_runs_on_the_patched_one(
    stock: Built, patched: Built, tmp_path: Path
) -> None:
    savefile = tmp_path / "traffic.pcap"
    savefiles.generate(savefile, 2000, (60, 1500))
    program = stock.program("stockuser", str(stock.library))
    said = []
    with netns.Lab() as net, net.inside():
        command: list[str | Path] = [program, net.capture_device, net.send_device, savefile]
        for built in (stock, patched):
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=60, env=built.environment(), check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            said.append(done.stdout)
    assert said[0] == said[1]
    assert said[0].endswith("ok\n")
