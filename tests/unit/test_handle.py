"""Handle: whose turn it is to use a pcap_t."""

from __future__ import annotations

import threading
import time

import pytest

from pypcapzc.errors import CaptureClosedError
from pypcapzc.handle import Handle
from pypcapzc.libpcap import library


def test_a_loop_of_one_thread_lets_another_have_its_turn() -> None:
    handle, turns, done = Handle(library(), None, "nothing"), 0, threading.Event()

    def read() -> None:
        nonlocal turns
        while not done.is_set():
            with handle.borrow():
                turns += 1
                time.sleep(0.002)  # others run, as in a call of libpcap

    reader = threading.Thread(target=read)
    reader.start()
    waited = []
    for _ in range(30):
        time.sleep(0.003)
        before = turns
        with handle.borrow():
            waited.append(turns - before)
    done.set()
    reader.join(5)
    assert not reader.is_alive()
    # The one that was going on, and one more where that had just ended; a machine that is busy adds some.
    assert sorted(waited)[len(waited) // 2] <= 2
    assert max(waited) <= 10


def test_who_holds_it_may_take_it_again_while_another_waits() -> None:
    handle, taken = Handle(library(), None, "nothing"), threading.Event()

    def ask() -> None:
        with handle.borrow():
            taken.set()

    other = threading.Thread(target=ask)
    with handle.borrow():
        other.start()
        time.sleep(0.02)  # it waits by now
        with handle.borrow():
            assert not taken.is_set()
    other.join(5)
    assert taken.is_set()


def test_closing_turns_away_who_waits() -> None:
    handle, refused = Handle(library(), None, "nothing"), threading.Event()

    def ask() -> None:
        with pytest.raises(CaptureClosedError, match="the capture of nothing is closed"), handle.borrow():
            pass
        refused.set()

    other = threading.Thread(target=ask)
    with handle.borrow():
        other.start()
        time.sleep(0.02)
        handle.close(wait=0)
    other.join(5)
    assert refused.is_set()
