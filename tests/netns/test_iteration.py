"""Iterating a live capture: a large block is copied piece by piece, and may lose its capture meanwhile."""

from __future__ import annotations

import os
from typing import Any

import pytest

from lab import frames, traffic
from lab.netns import Lab
from support.captures import opened, until_received

pytestmark = pytest.mark.netns

MIB = 1 << 20
COUNT = 9000


@pytest.fixture(params=["auto", "buffered"])
def capture(request: Any, net: Lab, sender: traffic.Sender) -> Any:
    """With 64 MiB of buffer, so that blocks are large, and COUNT packets in it."""
    with opened(net, mode=request.param, buffer_size=64 * MIB) as made:
        sender.send(COUNT)
        until_received(made, COUNT)
        yield made


def test_close_in_the_middle_of_a_block(capture: Any) -> None:
    found = []
    for _, data in capture:
        found.append(frames.check(data))
        if len(found) == 10:
            capture.close()
    assert found == list(range(len(found)))
    assert 10 <= len(found) <= COUNT


def test_a_child_does_not_go_on_and_the_parent_does(capture: Any) -> None:
    packets = iter(capture)
    found = [frames.check(next(packets)[1]) for _ in range(10)]
    child = os.fork()
    if not child:
        try:
            rest = [frames.check(data) for _, data in packets]
            os._exit(0 if rest == list(range(10, 10 + len(rest))) and capture.closed else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    found += [frames.check(next(packets)[1]) for _ in range(COUNT - 10)]
    assert found == list(range(COUNT))
