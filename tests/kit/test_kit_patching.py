"""Patches apply as they stand, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pypcapzc.kit import patching
from pypcapzc.kit.failures import PatchError
from support import kit

VERSION = "1.2.3"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "pcap.c").write_text(kit.PCAP_C)
    return folder


def _apply(tmp_path: Path, tree: Path, series: dict[str, str]) -> list[patching.Applied]:
    folder = kit.patches(tmp_path / "patches", VERSION, "0" * 64, series)
    return patching.apply(patching.read_series(folder, VERSION), tree, VERSION)


def test_a_series_applies_in_its_order(tmp_path: Path, tree: Path) -> None:
    again = kit.changing(10, after="twice").replace("-line 10", "-LINE 10")
    applied = _apply(tmp_path, tree, {"2.patch": kit.changing(10), "1.patch": again})
    assert [(one.patch.name, one.moved) for one in applied] == [("2.patch", 0), ("1.patch", 0)]
    assert (tree / "pcap.c").read_text() == kit.PCAP_C.replace("line 10\n", "twice\n")
    assert [path.name for path in tree.iterdir()] == ["pcap.c"]


def test_a_new_file_is_made(tmp_path: Path, tree: Path) -> None:
    new = "--- /dev/null\n+++ b/pcap/zc.h\n@@ -0,0 +1,2 @@\n+int pcap_zc_abi(void);\n+/* end */\n"
    _apply(tmp_path, tree, {"1.patch": new})
    assert (tree / "pcap" / "zc.h").read_text() == "int pcap_zc_abi(void);\n/* end */\n"


def test_a_hunk_that_moved_applies_and_is_counted(tmp_path: Path, tree: Path) -> None:
    (tree / "pcap.c").write_text("new first line\n" + kit.PCAP_C)
    (applied,) = _apply(tmp_path, tree, {"1.patch": kit.changing(20)})
    assert applied.moved == 1
    assert "LINE 20\n" in (tree / "pcap.c").read_text()
    assert [path.name for path in tree.iterdir()] == ["pcap.c"]


def test_other_context_is_fuzz_and_refused(tmp_path: Path, tree: Path) -> None:
    (tree / "pcap.c").write_text(kit.PCAP_C.replace("line 17\n", "another line\n"))
    with pytest.raises(PatchError) as caught:
        _apply(tmp_path, tree, {"0.patch": kit.changing(5), "move-it.patch": kit.changing(20)})
    message = str(caught.value)
    assert "move-it.patch does not apply to libpcap 1.2.3: hunk 1 of pcap.c (line 17)" in message
    assert "take it out of series/1.2.3" in message


def test_what_is_applied_already_is_refused(tmp_path: Path, tree: Path) -> None:
    with pytest.raises(PatchError, match=r"hunk 1 of pcap\.c"):
        _apply(tmp_path, tree, {"1.patch": kit.changing(20), "2.patch": kit.changing(20)})


def test_a_file_that_is_not_there_is_named(tmp_path: Path, tree: Path) -> None:
    with pytest.raises(PatchError, match=r"hunk 1 of gone\.c: there is no such file"):
        _apply(tmp_path, tree, {"1.patch": kit.changing(20, "gone.c")})


def test_a_patch_that_is_none_is_refused(tmp_path: Path, tree: Path) -> None:
    with pytest.raises(PatchError, match="Only garbage was found"):
        _apply(tmp_path, tree, {"1.patch": "hello\n"})


def test_a_patch_cannot_leave_the_tree(tmp_path: Path, tree: Path) -> None:
    outside = tmp_path / "pcap.c"
    outside.write_text(kit.PCAP_C)
    with pytest.raises(PatchError):
        _apply(tmp_path, tree, {"1.patch": kit.changing(20, "../pcap.c")})
    assert outside.read_text() == kit.PCAP_C


def test_a_series_takes_comments_and_names_what_is_missing(tmp_path: Path) -> None:
    folder = kit.patches(tmp_path / "patches", VERSION, "0" * 64, {"1.patch": kit.changing(20)})
    (folder / "series" / VERSION).write_text("# first\n\n1.patch  # this\n")
    assert [patch.name for patch in patching.read_series(folder, VERSION)] == ["1.patch"]
    (folder / "series" / VERSION).write_text("2.patch\n")
    with pytest.raises(PatchError, match=r"lists 2\.patch, which is missing"):
        patching.read_series(folder, VERSION)
    with pytest.raises(PatchError, match=r"there are series for 1\.2\.3.*--stock"):
        patching.read_series(folder, "9.9")


def test_a_series_is_asked_for_a_symbol(tmp_path: Path) -> None:
    folder = kit.patches(
        tmp_path / "patches", VERSION, "0" * 64, {"1.patch": kit.changing(20, after="int abi;")}
    )
    series = patching.read_series(folder, VERSION)
    assert patching.mentions(series, "abi")
    assert not patching.mentions(series, "line")
