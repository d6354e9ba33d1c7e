"""What the kit starts in a container engine carries a label, and does not outlive its run.

A run holds the lock on a file of its own.  One that was killed cannot clean up, but its lock is free: the
next run then removes what carries its name.  What another machine or user started is told by its age.
"""

from __future__ import annotations

import fcntl
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, Any

LABEL = "org.pypcapzc.kit"
"""``build`` on containers and volumes, ``image`` on images."""
RUN = "org.pypcapzc.run"
_OLD = 2 * 3600.0
"""Seconds after which nobody can still be at it."""


class Run:
    """One run: its name, and a lock for as long as it lives."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = f"pypcapzc-{secrets.token_hex(6)}"
        self.labels = {LABEL: "build", RUN: self.name}
        self._path = folder / self.name
        self._file: IO[bytes] = self._path.open("wb")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def close(self, *, clean: bool) -> None:
        """Let go; the file stays where something was left behind, so that the next run knows."""
        if clean:
            self._path.unlink(missing_ok=True)
        self._file.close()


def _lives(folder: Path, name: str, created: float) -> bool:
    """Whether the run of this name may still be at it."""
    try:
        with (folder / name).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return time.time() - created < _OLD
    return False


def sweep(client: Any, folder: Path, report: Callable[[str], None]) -> None:
    """Remove what dead runs left."""
    removed = set()
    for name, created, remove in _of_ours(client):
        if not _lives(folder, name, created):
            with suppress(Exception):  # somebody else may be sweeping too
                remove()
                removed.add(name)
    for name in removed:
        report(f"removed what {name}, which was killed, had left")
    for path in folder.glob("pypcapzc-*"):
        if not _lives(folder, path.name, 0.0):
            path.unlink(missing_ok=True)


def remove(client: Any, name: str) -> bool:
    """Remove what a run started; whether all is gone.  Looks twice: what was being made may come late."""
    for _ in range(10):
        found = [remove_it for run, _, remove_it in _of_ours(client) if run == name]
        if not found:
            return True
        for remove_it in found:
            with suppress(Exception):
                remove_it()
        time.sleep(0.2)
    return False


def remove_all(client: Any) -> int:
    """Remove everything of ours that no living container holds: containers, volumes, images."""
    everything = [remove_it for _, _, remove_it in _of_ours(client)]
    done = 0
    for remove_it in everything:
        with suppress(Exception):
            remove_it()
            done += 1
    for image in client.images(filters={"label": f"{LABEL}=image"}):
        with suppress(Exception):
            client.remove_image(image["Id"], force=True)
            done += 1
    return done + prune_images(client)


def _of_ours(client: Any) -> Iterator[tuple[str, float, Callable[[], None]]]:
    """Containers, then volumes: run, time of creation, and how to remove it."""
    filters = {"label": f"{LABEL}=build"}
    for container in client.containers(all=True, filters=filters):
        yield (
            container["Labels"].get(RUN, ""),
            float(container["Created"]),
            partial(client.remove_container, container["Id"], force=True, v=True),
        )
    for volume in client.volumes(filters=filters)["Volumes"] or ():
        yield (
            volume["Labels"].get(RUN, ""),
            _seconds(volume.get("CreatedAt", "")),
            partial(client.remove_volume, volume["Name"], force=True),
        )


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return time.time()


def prune_images(client: Any) -> int:
    """Remove untagged images of ours: what an interrupted build of an image leaves."""
    done = 0
    for _ in range(20):  # the last layer first, then the one under it
        found = client.images(filters={"dangling": True, "label": f"{LABEL}=image"})
        before = done
        for image in found:
            with suppress(Exception):
                client.remove_image(image["Id"])
                done += 1
        if done == before:
            break
    return done


class Interrupted(KeyboardInterrupt):
    """SIGTERM or SIGHUP: ends a build as Ctrl-C does."""


@contextmanager
def ending_cleanly() -> Iterator[Callable[[], None]]:
    """Have SIGTERM and SIGHUP end the block as Ctrl-C does; yields a call after which none of them counts."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in names}

    def end(number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    def ignore() -> None:
        for number in names:
            signal.signal(number, signal.SIG_IGN)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if before[number] is signal.SIG_DFL:
            signal.signal(number, end)
    try:
        yield ignore
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock on a file; waits for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
