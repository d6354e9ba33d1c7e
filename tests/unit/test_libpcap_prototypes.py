"""Every function that libpcap's headers declare is in the table, with the types of the declaration."""

from __future__ import annotations

import ctypes
import re
from ctypes import c_char, c_char_p, c_int, c_void_p
from pathlib import Path
from typing import Any

import pytest

from pypcapzc import libpcap
from pypcapzc.libpcap.prototypes import PROTOTYPES, Fails, Prototype
from pypcapzc.libpcap.types import char_buffer
from support import headers
from support.headers import Tree

pytestmark = pytest.mark.cc

# Declared by old headers only, for kernels and for one driver that is gone.
IGNORED = {"bpf_tap", "bpf_mtap", "pcap_get_adapter"}

# Declarations that differ from today's in a qualifier, up to the release named.
LATER_CONST = {"pcap_findalldevs_ex": (1, 9, 0)}


def trees() -> list[Any]:
    installed = pytest.param(None, id="installed")
    return [installed, *(pytest.param(tree, id=tree.name) for tree in headers.source_trees())]


@pytest.fixture(params=trees())
def tree(request: pytest.FixtureRequest) -> Tree:
    return request.param or headers.installed()


class Declarations:
    """The functions and typedefs of a parsed header."""

    def __init__(self, tree: Tree, system: str) -> None:
        from pycparser import c_ast

        self.ast = c_ast
        self.typedefs: dict[str, Any] = {}
        self.functions: dict[str, Any] = {}
        for node in headers.parsed(tree, system).ext:
            if isinstance(node, c_ast.FuncDef):
                continue
            if isinstance(node, c_ast.Typedef):
                self.typedefs[node.name] = node.type
            elif isinstance(node.type, c_ast.FuncDecl) and re.match(r"pcap_|bpf_", node.name):
                self.functions[node.name] = node.type

    def arguments(self, function: Any) -> list[Any]:
        parameters = [parameter.type for parameter in function.args.params] if function.args else []
        return [] if len(parameters) == 1 and self.base(parameters[0]) == "void" else parameters

    def resolve(self, node: Any) -> Any:
        """The node behind typedefs of the header's own, as far as FILE, which stays."""
        while isinstance(node, self.ast.TypeDecl) and isinstance(node.type, self.ast.IdentifierType):
            name = node.type.names[-1]
            if name == "FILE" or name not in self.typedefs:
                return node
            const = "const" in node.quals
            node = self.typedefs[name]
            if const and isinstance(node, self.ast.TypeDecl):
                node = self.ast.TypeDecl(node.declname, ["const"], None, node.type)
        return node

    def base(self, node: Any) -> str | None:
        """``int``, ``unsigned char``, ``struct pcap``, ``enum``; None for a pointer or a function."""
        node = self.resolve(node)
        if not isinstance(node, self.ast.TypeDecl):
            return None
        if isinstance(node.type, self.ast.IdentifierType):
            return " ".join(node.type.names)
        kind = type(node.type).__name__.lower()
        return "enum" if kind == "enum" else f"{kind} {node.type.name}"

    def matches(self, node: Any, type_: Any, *, returned: bool = False) -> bool:
        """Whether a ctypes type is right for a C type, by the rules at the top of prototypes.py."""
        node = self.resolve(node)
        if isinstance(node, self.ast.PtrDecl):
            return self.pointer_matches(self.resolve(node.type), type_, returned)
        base = self.base(node)
        if type_ is None or base == "void":
            return type_ is None and base == "void"
        if base is not None and base.startswith("struct"):
            return base == f"struct {getattr(type_, '__name__', None)}"
        return self.integer_matches(str(base), type_)

    @staticmethod
    def integer_matches(base: str, type_: Any) -> bool:
        if base == "char":
            return type_ is c_char
        if not issubclass(type_, ctypes._SimpleCData):
            return False
        signed = "enum" in base or "unsigned" not in base
        width = {"char": 1, "short": 2, "long": ctypes.sizeof(ctypes.c_long)}
        words = base.split()
        size = 8 if words.count("long") == 2 else next((width[word] for word in words if word in width), 4)
        return ctypes.sizeof(type_) == size and (type_(-1).value == -1) == signed

    def pointer_matches(self, target: Any, type_: Any, returned: bool) -> bool:
        base = self.base(target)
        if isinstance(target, self.ast.FuncDecl):
            return self.callback_matches(target, type_)
        if base in ("void", "FILE", "struct _AirpcapHandle"):
            return type_ is c_void_p
        if base == "char":
            read_only = returned or "const" in target.quals
            return type_ is c_char_p if read_only else type_ is char_buffer
        if base == "unsigned char" and not returned and type_ is c_void_p:
            return True
        return hasattr(type_, "contents") and self.matches(target, type_._type_)

    def callback_matches(self, function: Any, type_: Any) -> bool:
        arguments = self.arguments(function)
        return (
            hasattr(type_, "_argtypes_")
            and self.matches(function.type, type_._restype_)
            and len(arguments) == len(type_._argtypes_)
            and all(map(self.matches, arguments, type_._argtypes_))
        )

    def wrong(self, row: Prototype) -> str | None:
        """What the header has otherwise than the row, if anything."""
        function = self.functions[row.name]
        arguments = self.arguments(function)
        if not self.matches(function.type, row.restype, returned=True):
            return f"{row.name} returns {self.base(function.type)}, not {row.restype}"
        if len(arguments) != len(row.argtypes):
            return f"{row.name} has {len(arguments)} arguments"
        for number, (argument, type_) in enumerate(zip(arguments, row.argtypes, strict=True)):
            if not self.matches(argument, type_):
                return f"argument {number} of {row.name} is not {type_}"
        return None


def declared(tree: Tree, system: str) -> Declarations:
    return Declarations(tree, system)


def modern(tree: Tree) -> bool:
    """Whether the tree's headers have today's const qualifiers and Windows parts."""
    return tree.version is None or tree.version >= (1, 9)


def test_every_declared_function_is_in_the_table(tree: Tree) -> None:
    declarations = declared(tree, "linux")
    assert len(declarations.functions) > 70
    assert set(declarations.functions) - IGNORED <= set(PROTOTYPES)


def test_every_windows_function_is_in_the_table(tree: Tree) -> None:
    if not modern(tree):
        pytest.skip("before 1.9 the Windows functions are declared in WinPcap's headers")
    functions = declared(tree, "win32").functions
    assert "pcap_getevent" in functions
    assert set(functions) - IGNORED <= set(PROTOTYPES)


def test_every_row_has_the_declared_types(tree: Tree) -> None:
    if not modern(tree):
        pytest.skip("before 1.9 the declarations lack const")
    declarations = declared(tree, "linux")
    names = set(declarations.functions)
    names -= {name for name, last in LATER_CONST.items() if tree.version and tree.version <= last}
    rows = [PROTOTYPES[name] for name in names]
    assert [wrong for row in rows if (wrong := declarations.wrong(row))] == []
    declarations = declared(tree, "win32")
    rows = [PROTOTYPES[name] for name in declarations.functions if PROTOTYPES[name].platform == "win32"]
    assert len(rows) >= 18
    assert [wrong for row in rows if (wrong := declarations.wrong(row))] == []


def test_a_wrong_row_would_be_noticed() -> None:
    declarations = declared(headers.installed(), "linux")
    right = PROTOTYPES["pcap_next_ex"]
    assert declarations.wrong(right) is None
    for wrong in (
        right._replace(restype=ctypes.c_uint),
        right._replace(restype=ctypes.c_long),
        right._replace(restype=None),
        right._replace(argtypes=right.argtypes[:2]),
        right._replace(argtypes=(*right.argtypes[:2], ctypes.POINTER(c_int))),
        right._replace(argtypes=(right.argtypes[1], right.argtypes[1], right.argtypes[2])),
    ):
        assert declarations.wrong(wrong)
    written_to = PROTOTYPES["pcap_create"]
    assert declarations.wrong(written_to._replace(argtypes=(c_char_p, c_char_p)))


def numbers(text: str) -> tuple[int, ...]:
    parts = tuple(map(int, text.split(".")))
    return parts + (0,) * (3 - len(parts))


def test_since_and_until_agree_with_a_tree_of_that_version(tree: Tree) -> None:
    if tree.version is None:
        pytest.skip("the installed headers do not say their version; PYPCAPZC_SOURCES names trees")
    functions = set(declared(tree, "linux").functions)
    if modern(tree):
        functions |= set(declared(tree, "win32").functions)
    for row in PROTOTYPES.values():
        if row.platform == "msdos" or (row.platform == "win32" and not modern(tree)):
            continue
        there = numbers(row.since) <= tree.version and (
            row.until is None or tree.version <= numbers(row.until)
        )
        assert (row.name in functions) == there, f"{row.name} in {tree.name}"


def test_the_table_is_well_formed() -> None:
    for name, row in PROTOTYPES.items():
        assert row.name == name
        assert re.fullmatch(r"0\.[45]|\d+\.\d+\.\d+", row.since)
        assert isinstance(row.fails, Fails)
        assert (row.restype is None) <= (row.fails is Fails.NEVER)
        pointer = row.restype in (c_char_p, c_void_p) or hasattr(row.restype, "contents")
        assert pointer or "NULL" not in row.fails.name
        errbuf = row.fails in (Fails.STATUS_ERRBUF, Fails.NULL_ERRBUF)
        assert not errbuf or char_buffer in row.argtypes


def test_the_names_for_type_checkers_are_those_of_the_table() -> None:
    assert libpcap.__file__ is not None
    source = Path(libpcap.__file__).read_text()
    assert re.findall(r"^    (\w+): Function$", source, re.MULTILINE) == sorted(PROTOTYPES)


def test_every_row_is_offered_and_callable_by_its_c_name() -> None:
    for name in PROTOTYPES:
        assert callable(getattr(libpcap, name))
        assert name in dir(libpcap)
