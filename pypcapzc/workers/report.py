"""What workers have to say at their end."""

from __future__ import annotations

import functools
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import PcapError


class WorkerError(PcapError):
    """A worker process died, hung, or failed with what cannot be sent to another process."""


class RemoteTraceback(Exception):  # noqa: N818 - it is shown as the cause of an error, and is none itself
    """Where in the worker its error came from, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass(frozen=True)
class Failure:
    """An exception on its way from a worker: itself where it can be sent, and its traceback as text."""

    pickled: bytes | None
    summary: str
    text: str

    @staticmethod
    def of(error: BaseException) -> Failure:
        """The exception, ready to be sent."""
        pickled: bytes | None
        try:
            pickled = pickle.dumps(error)
            pickle.loads(pickled)  # those with arguments of their own can be sent and not received
        except Exception:
            pickled = None
        return Failure(
            pickled, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
        )

    def error(self, who: str) -> BaseException:
        """The exception that the worker had, its traceback as the cause."""
        found: BaseException = WorkerError(f"{who} failed: {self.summary}")
        if self.pickled is not None:
            try:
                found = pickle.loads(self.pickled)
            except Exception:  # its class is not to be had here
                pass
        found.__cause__ = RemoteTraceback(self.text)
        return found


@dataclass(frozen=True)
class WorkerReport:
    """One worker."""

    number: int
    pid: int
    packets: int
    """Packets of the blocks that its function has finished with."""
    received: int
    """Packets that the kernel received for it, those included that were dropped (see Stats)."""
    dropped: int
    """Packets that found no room in its buffer."""
    lost: int | None
    """Packets that were received, not dropped, and never finished with: of a worker that died, failed, or did
    not want them.  None where the system counts packets that the filter rejected as received."""
    result: Any
    """What its function returned."""
    error: BaseException | None
    """What it failed with; WorkerError where it died."""


@dataclass(frozen=True)
class Report:
    """All workers, by number."""

    workers: tuple[WorkerReport, ...]

    @property
    def packets(self) -> int:
        """Packets of the blocks that were finished with."""
        return sum(worker.packets for worker in self.workers)

    @property
    def received(self) -> int:
        """Packets that the kernel received."""
        return sum(worker.received for worker in self.workers)

    @property
    def dropped(self) -> int:
        """Packets that found no room."""
        return sum(worker.dropped for worker in self.workers)

    @property
    def lost(self) -> int | None:
        """Packets that were received and never finished with; None where the system does not tell."""
        lost = [worker.lost for worker in self.workers if worker.lost is not None]
        return sum(lost) if len(lost) == len(self.workers) else None

    @property
    def errors(self) -> list[BaseException]:
        """What workers failed with."""
        return [worker.error for worker in self.workers if worker.error is not None]

    def results(self) -> list[Any]:
        """What the function returned in each worker.  Raises the error of the first that failed."""
        for worker in self.workers:
            if worker.error is not None:
                raise worker.error
        return [worker.result for worker in self.workers]

    def merged(self, function: Callable[[Any, Any], Any]) -> Any:
        """The results put together two by two, as by operator.add.  Raises as results() does."""
        return functools.reduce(function, self.results())
