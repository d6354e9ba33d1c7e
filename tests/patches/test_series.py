"""The patches as files: complete headers, exact series, no fuzz, no new warnings."""

from __future__ import annotations

import difflib
import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from pypcapzc.kit import driver, patching, pins, sources
from support import patches
from support.patches import PATCHES, PLAIN, VERSIONS, Built, Workshop

pytestmark = [pytest.mark.kit, pytest.mark.cc, pytest.mark.timeout(300)]

FIELDS = ("Description", "Origin", "Forwarded", "Applies-To", "Test")
FILES = sorted(path.name for path in PATCHES.glob("*.patch"))
EVERY = "PYPCAPZC_EVERY_PATCH"


def header(name: str) -> Mapping[str, str]:
    """The fields before the first file's part; lines that begin with a blank go on with the one before."""
    fields: dict[str, str] = {}
    last = ""
    for line in (PATCHES / name).read_text().splitlines():
        if line.startswith(("diff --git ", "--- ")):
            return fields
        if field := re.match(r"([A-Z][A-Za-z-]*): *(.*)", line):
            last, text = field.groups()
            assert last not in fields, f"{name} has {last} twice"
            fields[last] = text
        elif line.startswith(" "):
            fields[last] += line
        else:
            assert not line, f"{name}: neither a field nor its continuation: {line!r}"
    raise AssertionError(f"{name} changes nothing")


def series(version: str) -> list[str]:
    return [patch.name for patch in patching.read_series(PATCHES, version)]


@pytest.mark.parametrize("name", FILES)
def test_a_patch_says_what_it_is(name: str) -> None:
    fields = header(name)
    assert tuple(fields) == FIELDS
    assert all(fields.values())
    assert len(fields["Description"]) > 40


@pytest.mark.parametrize("name", FILES)
def test_a_patch_applies_to_what_it_says(name: str) -> None:
    said = re.sub(r"\(.*?\)", "", header(name)["Applies-To"]).replace(",", " ").split()
    assert sorted(said) == [version for version in VERSIONS if name in series(version)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_series_is_in_order_and_in_the_style_of_the_folder(version: str) -> None:
    names = series(version)
    assert names == sorted(names)
    numbers = [name[:4] for name in names]
    assert len(set(numbers)) == len(numbers), "two patches of the same number"
    assert all(name in FILES for name in names)


@pytest.mark.parametrize("name", FILES)
def test_a_suffix_is_the_oldest_version_that_has_the_file(name: str) -> None:
    if suffix := re.search(r"-([\d.]+)\.patch$", name):
        having = [version for version in VERSIONS if name in series(version)]
        assert suffix[1] == min(having, key=patches.age)
        assert (PATCHES / name.replace(f"-{suffix[1]}.patch", ".patch")).exists()


def _added(name: str) -> Counter[str]:
    """The lines that a patch adds, without the blanks around them."""
    body = re.split(r"^(?=@@ )", (PATCHES / name).read_text(), flags=re.MULTILINE)[1:]
    lines = (line for hunk in body for line in hunk.split("\ndiff --git ")[0].splitlines())
    return Counter(text for line in lines if line.startswith("+") and (text := line[1:].strip()))


def differences() -> str:
    """What the patches of some versions add otherwise than their namesakes without a suffix."""
    said = []
    for name in FILES:
        if suffix := re.search(r"-[\d.]+\.patch$", name):
            here, usual = _added(name), _added(name.replace(suffix[0], ".patch"))
            said.append(name)
            said += sorted(f"- {line}" for line in (usual - here).elements())
            said += sorted(f"+ {line}" for line in (here - usual).elements())
    return "\n".join(said) + "\n"


def test_patches_of_one_name_differ_only_as_stated() -> None:
    """A change to one that another still needs shows as a difference: differences.txt has the wanted ones."""
    stated = (Path(__file__).parent / "differences.txt").read_text()
    new = difflib.unified_diff(stated.splitlines(), differences().splitlines(), "stated", "found", n=1)
    message = "\n".join(["make the change in each, or state the difference in differences.txt:", *new])
    assert differences() == stated, message


def test_a_version_has_a_series_and_a_pin_or_neither() -> None:
    assert sorted(pins.read(PATCHES)) == VERSIONS
    for version, table in pins.read(PATCHES).items():
        assert table["directory"] == f"libpcap-{version}"
        assert table["series"] == f"series/{version}"
        files = [tarball["file"] for tarball in table["tarballs"]]
        assert len(set(files)) == len(files)
        for tarball in table["tarballs"]:
            assert re.fullmatch(rf"libpcap-{re.escape(version)}\.tar\.[gx]z", tarball["file"])
            assert tarball["url"].endswith(f"/{tarball['file']}")
            assert tarball["size"] > 0 if tarball["sha256"] else "never read" in tarball["note"]
        assert files
    assert pins.pin_of(PATCHES, driver.DEFAULT_LIBPCAP).tarballs


@pytest.mark.parametrize("version", VERSIONS)
def test_a_series_applies_without_fuzz(version: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    sources.unpack(patches.source(version), tree)
    applied = patching.apply(patching.read_series(PATCHES, version), tree, version)
    assert [one.patch.name for one in applied] == series(version)
    assert not [*tree.rglob("*.orig"), *tree.rglob("*.rej")]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_series_comes_off_again(version: str, tmp_path: Path) -> None:
    """In reverse, without fuzz: what is there is what each patch says it has put there."""
    tree, before = tmp_path / "tree", tmp_path / "before"
    sources.unpack(patches.source(version), tree)
    sources.unpack(patches.source(version), before)
    applied = patching.read_series(PATCHES, version)
    patching.apply(applied, tree, version)
    for patch in reversed(applied):
        command = ["patch", "-p1", "-F0", "-f", "-R", "-s", "-E", "-i", str(patch.path)]
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    for left in tree.rglob("*.orig"):
        left.unlink()
    done = subprocess.run(["diff", "-r", before, tree], capture_output=True, text=True, check=False)
    assert not done.stdout


def test_the_tests_that_the_patches_name_are_there(newest_patched: Built) -> None:
    behave = newest_patched.program("zcbehave", str(newest_patched.archive), "-lpthread")
    listed = subprocess.run([behave, "list"], capture_output=True, text=True, check=True)
    cases = set(listed.stdout.split())
    programs = {path.stem for path in patches.PROGRAMS.parent.parent.glob("*/csrc/*.c")}
    for name in FILES:
        for program, words in re.findall(r"\b(zc\w+)([a-z, ]*)", header(name)["Test"]):
            assert program in programs, f"{name} names {program}"
            named = words.split(" and ")[0].replace(",", " ").split()
            assert program != "zcbehave" or set(named[:1]) <= cases, f"{name}: no case {words}"


def _code_lines(warnings: tuple[str, ...]) -> set[tuple[str, str]]:
    """File and text of each warning, without the line, which moves."""
    found = (re.search(r"([\w.-]+):\d+:\d+: warning: (.*)", line) for line in warnings)
    return {(match[1], match[2]) for match in found if match}


def test_no_warning_is_new(stock: Built, patched: Built) -> None:
    assert _code_lines(patched.warnings) <= _code_lines(stock.warnings)


def test_the_version_string_tells_which_it_is(stock: Built, patched: Built) -> None:
    banner = f"libpcap version {patched.version}".encode()
    assert banner in patched.library.read_bytes()
    assert b"pcap_zc" in patched.library.read_bytes()
    assert b"pcap_zc" not in stock.library.read_bytes()


@pytest.mark.skipif(not patches.opted_in(EVERY), reason=f"takes minutes: set {EVERY}=1")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("version", VERSIONS)
def test_it_compiles_after_every_single_patch(version: str, workshop: Workshop, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    sources.unpack(patches.source(version), tree)
    expected = _code_lines(workshop.get(version, patched=False).warnings)
    has_configure = (tree / "configure").exists()
    for patch in patching.read_series(PATCHES, version):
        patching.apply([patch], tree, version)
        if not has_configure:
            (tree / "configure").unlink(missing_ok=True)
            sources.bootstrap(tree)
        build = tmp_path / patch.name
        patches.configure(tree, build, PLAIN)
        said = patches.make(build, "libpcap.a", "shared") + patches.make(build, "testprogs")
        new = _code_lines(tuple(said)) - expected
        assert not new, f"{patch.name}: {new}"
