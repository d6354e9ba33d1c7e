"""A C program tells what the compiler makes of libpcap's headers; our tables must say the same."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pypcapzc import constants, datalinks, libpcap, linktypes
from pypcapzc.libpcap import packets, types
from support import headers
from support.headers import Tree

pytestmark = pytest.mark.cc

INCLUDES = [
    "pcap/pcap.h",
    "pcap/bpf.h",
    "pcap/namedb.h",
    "pcap/sll.h",
    "pcap/vlan.h",
    "pcap/usb.h",
    "pcap/bluetooth.h",
    "pcap/can_socketcan.h",
    "pcap/ipnet.h",
    "pcap/nflog.h",
]
SYSTEM_INCLUDES = [
    "stddef.h",
    "stdio.h",
    "sys/types.h",
    "sys/time.h",
    "sys/socket.h",
    "netinet/in.h",
    "netdb.h",
]
if sys.platform.startswith("linux"):
    SYSTEM_INCLUDES.append("linux/if_packet.h")
else:
    SYSTEM_INCLUDES.append("net/if_dl.h")

SYSTEM_STRUCTS = ["timeval", "sockaddr", "in_addr", "in6_addr", "sockaddr_in", "sockaddr_in6", "addrinfo"]
SYSTEM_STRUCTS.append("sockaddr_ll" if sys.platform.startswith("linux") else "sockaddr_dl")

#: Those that must be found in any header; the rest as far as a version has them.
CORE_STRUCTS = {
    "pcap_file_header",
    "pcap_pkthdr",
    "pcap_stat",
    "pcap_if",
    "pcap_addr",
    "bpf_program",
    "bpf_insn",
    "pcap_etherent",
    "sll_header",
}

BOUNDS = {"DLT_HIGH_MATCHING_MAX": datalinks.DLT_HIGH_MATCHING_MAX}


def trees() -> list[Any]:
    installed = pytest.param(None, id="installed")
    return [installed, *(pytest.param(tree, id=tree.name) for tree in headers.source_trees())]


@pytest.fixture(params=trees())
def tree(request: pytest.FixtureRequest) -> Tree:
    return request.param or headers.installed()


def table_of_constants() -> dict[str, int | bytes]:
    """Every macro that our modules define, by its C name."""
    ranges = {name: value for name, value in vars(datalinks).items() if "_MATCHING_" in name}
    return {**constants.CONSTANT_VALUES, **datalinks.DLT_VALUES, **ranges}


def probe(tree: Tree, body: str, folder: Path, prelude: str = "") -> dict[str, str]:
    """Compile and run a program that prints lines "name value"."""
    present = [name for name in INCLUDES if (tree.include / name).exists()]
    source = "#define _GNU_SOURCE 1\n"
    source += "".join(f"#include <{name}>\n" for name in [*SYSTEM_INCLUDES, *present])
    source += f"{prelude}\nint main(void) {{\n{body}\nreturn 0; }}\n"
    program = folder / "probe"
    command = [headers.compiler(), "-w", *tree.flags(), "-o", str(program), "-x", "c", "-"]
    headers.run(*command, input=source)
    return dict(line.split(" ", 1) for line in headers.run(program).splitlines())


# --- constants -----------------------------------------------------------------------------------------


def constants_in_c(
    tree: Tree, table: Mapping[str, int | bytes], folder: Path, prelude: str = ""
) -> dict[str, str]:
    lines = []
    for name, value in table.items():
        form, cast = ("%s", "") if isinstance(value, bytes) else ("%lld", "(long long)")
        line = f'printf("{name} {form}\\n", {cast}({name}));'
        is_enum = isinstance(value, constants.pcap_direction_t)
        lines.append(line if is_enum else f"#ifdef {name}\n{line}\n#endif")
    return probe(tree, "\n".join(lines), folder, prelude)


def differences(found: Mapping[str, str], table: Mapping[str, int | bytes]) -> list[str]:
    """Where C and the table disagree."""
    wrong = []
    for name, text in found.items():
        value = table[name]
        expected = value.decode() if isinstance(value, bytes) else str(int(value))
        # The end of the range of types moves with each release.
        right = int(text) <= BOUNDS[name] if name in BOUNDS else text == expected
        if not right:
            wrong.append(f"{name} is {text}, not {expected}")
    return wrong


def test_every_constant_has_the_value_of_the_header(tree: Tree, tmp_path: Path) -> None:
    table = table_of_constants()
    found = constants_in_c(tree, table, tmp_path)
    assert len(found) > (200 if tree.version and tree.version < (1, 9) else 300)
    assert differences(found, table) == []


def test_one_wrong_constant_would_be_noticed(tmp_path: Path) -> None:
    table = table_of_constants()
    found = constants_in_c(headers.installed(), table, tmp_path)
    for name, value in table.items():
        if name in found and name not in BOUNDS:
            other = value + b"x" if isinstance(value, bytes) else int(value) + 1
            assert len(differences(found, {**table, name: other})) == 1, name


NOT_CONSTANTS = re.compile(
    r"PCAP_(API|AVAILABLE|DEPRECATED|NONNULL|NORETURN|PRINTFLIKE|WARN_UNUSED|FORMAT_STRING|SOCKET|IS_AT_LEAST)"
    r"|PCAP_DONT|PCAP_ETHERS_FILE|lib_pcap"
    r"|DLT_(OLD_\w+|CLASS_NETBSD_RAWAF|IPMB|MATCHING_M..)$"  # taken out again, or moving with each release
    r"|BPF_(M(AJOR|INOR)_VERSION|MAXBUFSIZE|MINBUFSIZE|MAXINSNS|RELEASE|ALIGNMENT)$"
    r"|(PACKET_LENGTH|PRI\w+|INVALID_SOCKET|SOCKET|inline|u_int\w+|strdup|snprintf|vsnprintf)$"
)


def test_every_constant_of_the_headers_is_in_the_table(tree: Tree) -> None:
    table = table_of_constants()
    names = {*headers.HEADERS, "dlt"}
    missing = {
        name
        for header in names
        if (tree.include / "pcap" / f"{header}.h").exists()
        for name in headers.macros(tree, header)
        if name not in table and not NOT_CONSTANTS.match(name)
    }
    assert missing == set()


def test_linktypes_have_the_values_of_the_source(tree: Tree, tmp_path: Path) -> None:
    if tree.source is None:
        pytest.skip("LINKTYPE_* are in libpcap's source only; PYPCAPZC_SOURCES names trees")
    text = (tree.source / "pcap-common.c").read_text(encoding="latin-1")
    defined = re.findall(r"^#define[ \t]+(LINKTYPE_\w+)[ \t]+\w+", text, re.MULTILINE)
    prelude = "\n".join(re.findall(r"^#define[ \t]+LINKTYPE_\w+[ \t]+\w+", text, re.MULTILINE))
    newest = tree.version is not None and tree.version >= (1, 11)
    found = constants_in_c(tree, linktypes.LINKTYPE_VALUES, tmp_path, prelude)
    assert len(found) > 100
    assert differences(found, linktypes.LINKTYPE_VALUES) == []
    if newest:
        unknown = {name for name in defined if not name.endswith(("_MATCHING_MIN", "_MATCHING_MAX"))}
        assert unknown == set(linktypes.LINKTYPE_VALUES)


# --- types whose numbers depend on the system ----------------------------------------------------------

PLATFORMS = {
    "linux": ["-D__linux__=1"],
    "freebsd14": ["-D__FreeBSD__=14"],
    "openbsd7": ["-D__OpenBSD__=1"],
    "netbsd10": ["-D__NetBSD__=1"],
    "dragonfly6": ["-D__DragonFly__=6"],
    "darwin": ["-D__APPLE__=1"],
}


def datalinks_on(platform: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A copy of the module as it would be on another system."""
    monkeypatch.setattr(sys, "platform", platform)
    spec = importlib.util.spec_from_file_location(f"datalinks_on_{platform}", datalinks.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def number(name: str, macros: Mapping[str, str]) -> int:
    text = macros[name]
    return int(text, 0) if text[0].isdigit() else number(text, macros)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_datalinks_of_each_system(tree: Tree, platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (tree.include / "pcap/dlt.h").exists():
        pytest.skip("this version has the DLT_* in bpf.h, mixed with the system's")
    undefined = ["-U__linux__", "-U__FreeBSD__", "-U__APPLE__", "-U__NetBSD__", "-U__OpenBSD__"]
    macros = headers.macros(tree, "dlt", *undefined, *PLATFORMS[platform])
    table = datalinks_on(platform, monkeypatch).DLT_VALUES
    in_c = {name for name in macros if name.startswith("DLT_") and not NOT_CONSTANTS.match(name)}
    in_c -= {name for name in in_c if "_MATCHING_" in name}
    assert len(in_c) > 150
    assert {name: number(name, macros) for name in in_c} == {name: table.get(name) for name in in_c}
    if tree.version and tree.version >= (1, 11):
        assert in_c == set(table)


def refused(handle: Any) -> bool:
    return b"link-layer type" in libpcap.pcap_geterr(handle)


def test_translation_between_dlt_and_linktype_is_libpcaps(tmp_path: Path) -> None:
    """Have the library write and read a savefile of each type that it knows."""
    file, errbuf = tmp_path / "x.pcap", libpcap.error_buffer()
    tried = 0
    for dlt in sorted({*range(305), *datalinks.DLT_VALUES.values()}):
        if dlt == datalinks.DLT_PKTAP:
            continue  # opening it for reading changes the handle's type
        handle = libpcap.pcap_open_dead(dlt, 100)
        dumper = libpcap.pcap_dump_open(handle, bytes(file))
        if not dumper:
            known = libpcap.pcap_datalink_val_to_name(dlt) is not None
            assert linktypes.dlt_to_linktype(dlt) is None or not known, dlt
            libpcap.pcap_close(handle)
            continue
        libpcap.pcap_dump_close(dumper)
        libpcap.pcap_close(handle)
        header = libpcap.pcap_file_header.from_buffer_copy(file.read_bytes())
        assert linktypes.dlt_to_linktype(dlt) == header.linktype, dlt
        again = libpcap.pcap_open_offline(bytes(file), errbuf)
        assert again, errbuf.value
        assert linktypes.linktype_to_dlt(header.linktype) == libpcap.pcap_datalink(again)
        libpcap.pcap_close(again)
        tried += 1
    assert tried > 150


def test_names_of_datalinks_are_libpcaps() -> None:
    checked = 0
    for dlt in range(305):
        name = libpcap.pcap_datalink_val_to_name(dlt)
        if name is not None:
            assert datalinks.dlt_value(name.decode()) == dlt
            assert datalinks.DLT_VALUES[datalinks.dlt_name(dlt) or ""] == dlt
            checked += 1
    assert checked > 120
    assert datalinks.dlt_name(9999) is None
    assert datalinks.dlt_value("en10mb") == datalinks.dlt_value("DLT_EN10MB") == 1
    assert linktypes.linktype_value("ethernet") == linktypes.linktype_value("LINKTYPE_ETHERNET") == 1
    assert linktypes.linktype_name(101) == "LINKTYPE_RAW"
    assert constants.status_name(-11) == "PCAP_ERROR_PROMISC_PERM_DENIED"
    assert constants.status_name(3) == "PCAP_WARNING_TSTAMP_TYPE_NOTSUP"


# --- structures ----------------------------------------------------------------------------------------


def structs_in_headers(tree: Tree) -> dict[str, tuple[str, list[str]]]:
    """Of each structure that the headers define: its C type and its fields' names, by our name."""
    from pycparser import c_ast

    found: dict[str, tuple[str, list[str]]] = {}
    for node in headers.parsed(tree).ext:
        if not isinstance(node, (c_ast.Typedef, c_ast.Decl)):
            continue  # an inline function
        inner = node.type.type if isinstance(node.type, c_ast.TypeDecl) else node.type
        if isinstance(inner, c_ast.Struct) and inner.decls:
            fields = [field.name for field in inner.decls if field.name]
            # By its tag or by its typedef, whichever we have: _usb_header is pcap_usb_header.
            name = inner.name if our_class(str(inner.name)) or not node.name else node.name
            found[name] = (f"struct {inner.name}" if inner.name else node.name, fields)
    return found


def layout_in_c(tree: Tree, wanted: Mapping[str, tuple[str, list[str]]], folder: Path) -> dict[str, str]:
    lines = []
    for name, (c_type, fields) in wanted.items():
        lines.append(f'printf("{name} %zu\\n", sizeof({c_type}));')
        for field in fields:
            values = f"offsetof({c_type}, {field}), sizeof((({c_type} *)0)->{field})"
            lines.append(f'printf("{name}.{field} %zu:%zu\\n", {values});')
    return probe(tree, "\n".join(lines), folder)


def our_class(name: str) -> Any:
    return getattr(types, name, None) or getattr(packets, name, None)


def our_layout(name: str) -> dict[str, str]:
    structure = our_class(name)
    layout = {name: str(ctypes.sizeof(structure))}
    for field, *_ in structure._fields_:
        at = getattr(structure, field)
        layout[f"{name}.{field}"] = f"{at.offset}:{at.size}"
    return layout


# A field's name up to 1.10.1, and now.
PAST_NAMES = {"pcap_can_socketcan_hdr.pad": "pcap_can_socketcan_hdr.fd_flags"}


def test_every_struct_of_the_headers_has_its_layout(tree: Tree, tmp_path: Path) -> None:
    wanted = structs_in_headers(tree)
    wanted.pop("bpf_version", None)  # the kernel's, in headers up to 1.1 only
    assert set(wanted) >= CORE_STRUCTS
    assert [name for name in wanted if not our_class(name)] == []
    ours: dict[str, str] = {}
    for name in wanted:
        ours.update(our_layout(name))
    in_c = {PAST_NAMES.get(name, name): text for name, text in layout_in_c(tree, wanted, tmp_path).items()}
    assert in_c == ours


def test_every_system_struct_has_its_layout(tmp_path: Path) -> None:
    wanted = {}
    ours: dict[str, str] = {}
    for name in SYSTEM_STRUCTS:
        fields = [field for field, *_ in our_class(name)._fields_]
        wanted[name] = (f"struct {name}", fields)
        ours.update(our_layout(name))
    assert layout_in_c(headers.installed(), wanted, tmp_path) == ours


def test_one_wrong_field_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(ctypes.Structure):
        _fields_ = [*types.pcap_pkthdr._fields_[:2], ("len", ctypes.c_uint16), ("pad", ctypes.c_uint16)]

    wanted = {"pcap_pkthdr": structs_in_headers(headers.installed())["pcap_pkthdr"]}
    in_c = layout_in_c(headers.installed(), wanted, tmp_path)
    assert in_c == our_layout("pcap_pkthdr")
    monkeypatch.setattr(types, "pcap_pkthdr", Wrong)
    assert in_c != our_layout("pcap_pkthdr")


def test_layouts_on_a_32_bit_system(tmp_path: Path) -> None:
    """The savefile's and the filter's layouts do not depend on the width of pointers."""
    source = "#include <pcap/pcap.h>\n" + "".join(
        f"_Static_assert(sizeof({c_type}) == {size}, {c_type!r});\n".replace("'", '"')
        for c_type, size in [
            ("struct pcap_file_header", ctypes.sizeof(types.pcap_file_header)),
            ("struct bpf_insn", ctypes.sizeof(types.bpf_insn)),
            ("struct pcap_stat", ctypes.sizeof(types.pcap_stat)),
        ]
    )
    command = [headers.compiler(), "-m32", "-fsyntax-only", "-x", "c", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if "fatal error" in done.stderr or "unrecognized" in done.stderr or "gnu/stubs-32" in done.stderr:
        pytest.skip("this compiler has no 32-bit headers")
    assert done.returncode == 0, done.stderr
