"""Targets: their names, this host, and what they promise."""

from __future__ import annotations

import platform
import sys
import sysconfig

import pytest

from pypcapzc.kit import recipe, targets
from pypcapzc.kit.failures import UnknownTargetError


@pytest.mark.parametrize(
    "name", ["", "linux", "host:14", "linux-amd64:2.17", "freebsd-amd64-14", "windows", "HOST"]
)
def test_an_unknown_target_gets_the_list(name: str) -> None:
    with pytest.raises(UnknownTargetError) as caught:
        targets.parse(name)
    for known in targets.NAMES:
        assert known in str(caught.value)


@pytest.mark.parametrize(
    ("name", "triple"),
    [
        ("linux-amd64", "x86_64-linux-gnu.2.17"),
        ("linux-arm64", "aarch64-linux-gnu.2.17"),
        ("linux-musl-amd64", "x86_64-linux-musl"),
        ("freebsd-amd64", "x86_64-freebsd.14.0"),
        ("freebsd-arm64:14.2", "aarch64-freebsd.14.2"),
        ("freebsd-amd64:15", "x86_64-freebsd.15.0"),
    ],
)
def test_a_target_has_its_compiler_target(name: str, triple: str) -> None:
    target = targets.parse(name)
    assert (target.name, target.triple) == (name, triple)
    assert ":" not in target.folder
    assert triple.rpartition("freebsd.")[2] in target.configure_host or target.system == "linux"


def test_a_release_that_zig_has_no_headers_for() -> None:
    old, new = targets.parse("freebsd-amd64:13"), targets.parse("freebsd-arm64:15")
    assert (old.lacks_headers, new.lacks_headers) == (True, False)
    assert old.triple == "x86_64-freebsd.13.0"
    with pytest.raises(UnknownTargetError, match="no FreeBSD release"):
        targets.parse("freebsd-amd64:current")


@pytest.mark.parametrize(
    ("system", "machine", "gnu_type", "name"),
    [
        ("linux", "x86_64", "x86_64-pc-linux-gnu", "linux-amd64"),
        ("linux", "aarch64", None, "linux-arm64"),
        ("linux", "x86_64", "x86_64-pc-linux-musl", "linux-musl-amd64"),
        ("freebsd14", "amd64", None, "freebsd-amd64"),
        ("linux", "riscv64", None, None),
        ("linux", "aarch64", "aarch64-unknown-linux-musl", "linux-musl-arm64"),
        ("darwin", "arm64", None, None),
    ],
)
def test_the_host_is_recognised(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, gnu_type: str | None, name: str | None
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _: gnu_type)
    if name is None:
        with pytest.raises(UnknownTargetError, match=f"{machine}.*is none.*--target: linux-amd64"):
            targets.parse("host")
    else:
        assert targets.parse("host").name == name


@pytest.mark.parametrize("name", targets.NAMES[1:])
def test_the_recipe_names_no_path_of_this_machine(name: str) -> None:
    arguments = recipe.configure_arguments(targets.parse(name))
    assert [word for word in arguments if "/" in word] == ["--prefix=/usr/local"]
    assert len(set(arguments)) == len(arguments)
