"""What goes around AsyncSniffer._run(): savefiles by libpcap, and the counters of the kernel afterwards."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from scapy.config import conf

from ..counters import Stats
from ..errors import PcapError
from .options import Current
from .running import Run, local
from .savefiles import sockets_of


def around(original: Callable[..., None]) -> Callable[..., None]:
    """AsyncSniffer._run() as it is while the backend is enabled."""
    signature = inspect.signature(original)

    @functools.wraps(original)
    def run(sniffer: Any, *args: Any, **kwargs: Any) -> None:
        if "offline" in kwargs or len(args) > 2:
            opened, args, kwargs = _open_offline(signature, (sniffer, *args), kwargs)
        else:
            opened, args = [], (sniffer, *args)
        if kwargs.get("iface") == "any":  # of which scapy's list of interfaces knows nothing
            kwargs.setdefault("L2socket", conf.L2listen)
        outer, this = local.run, Run(sniffer)
        local.run = this
        try:
            original(*args, **kwargs)
        finally:
            local.run = outer
            for socket in opened:
                socket.close()
        stats = total(each.stats for each in this.sockets)
        if stats is not None and sniffer.results is not None:
            sniffer.results.capture_stats = stats

    return run


def _open_offline(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[Any], tuple[Any, ...], dict[str, Any]]:
    """Arguments with opened sockets in the place of what ``offline`` names, and those sockets."""
    bound = signature.bind(*args, **kwargs)
    given = bound.arguments
    others = given.get("karg", {})
    if given.get("offline") is None:
        return [], args, kwargs
    opened = sockets_of(given["offline"], others.get("filter"), Current.options.lazy)
    if opened is None:
        return [], args, kwargs
    before = given.get("opened_socket")
    if before is None:
        before = {}
    elif isinstance(before, list):
        before = {each: f"socket{number}" for number, each in enumerate(before)}
    elif not isinstance(before, dict):
        before = {before: "socket0"}
    given["offline"], given["opened_socket"] = None, {**before, **opened}
    return list(opened), bound.args, bound.kwargs


def total(counters: Iterable[Callable[[], Stats]]) -> Stats | None:
    """The counters of several sockets together; None where none of them has any, as with savefiles."""
    found: Stats | None = None
    for ask in counters:
        try:
            one = ask()
        except PcapError:
            continue
        found = (
            one
            if found is None
            else replace(
                found,
                received=found.received + one.received,
                dropped=found.dropped + one.dropped,
                dropped_by_interface=found.dropped_by_interface + one.dropped_by_interface,
            )
        )
    return found
