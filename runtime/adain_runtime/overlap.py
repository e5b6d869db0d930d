"""Many photos: decoding and encoding beside the network, and several in the network at once where that gains."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

_Job = TypeVar("_Job")
_Work = TypeVar("_Work")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Lanes(Generic[_Work]):
    """How several are stylised at once.

    Attributes:
        count: how many.
        fits: whether what was loaded may be one of them.
        stylize: does it; called from ``count`` threads at once.
    """

    count: int
    fits: Callable[[list[_Work]], bool]
    stylize: Callable[[list[_Work]], list[_Work]]


@dataclass(frozen=True)
class Steps(Generic[_Job, _Work, _Result]):
    """What becomes of a batch of jobs.

    Attributes:
        load: decodes, in a thread of its own, one batch ahead.
        alone: whether what was loaded wants the memory to itself, with nothing decoded or encoded beside it.
        stylize: has the network to itself; in the caller's thread.
        save: encodes, in a thread of its own, in the order of the batches.
        lanes: for what needn't have the network to itself; None where all do.
    """

    load: Callable[[Sequence[_Job]], list[_Work]]
    alone: Callable[[list[_Work]], bool]
    stylize: Callable[[list[_Work]], list[_Work]]
    save: Callable[[list[_Work]], list[_Result]]
    lanes: Lanes[_Work] | None = None


def overlapped(batches: Sequence[Sequence[_Job]], steps: Steps[_Job, _Work, _Result]) -> Iterator[_Result]:
    """Run all batches and give the results in their order; an interrupt gives first what is being saved."""
    threads = _Threads(steps)
    try:
        ahead = threads.load(batches[0])
        for number in range(1, len(batches) + 1):
            works = ahead.result()
            alone = steps.alone(works)
            if alone:
                yield from threads.saved(0)
            elif number < len(batches):
                ahead = threads.load(batches[number])
            unsaved = threads.stylize(works, alone=alone)
            del works
            yield from threads.saved(unsaved)
            if alone and number < len(batches):
                ahead = threads.load(batches[number])
        yield from threads.saved(0)
    except KeyboardInterrupt:
        yield from threads.interrupted()
        raise
    finally:
        threads.close()


class _Threads(Generic[_Job, _Work, _Result]):
    """The threads beside the caller's, and what they are at."""

    def __init__(self, steps: Steps[_Job, _Work, _Result]) -> None:
        from concurrent.futures import ThreadPoolExecutor  # for one photo, time that nothing is done in

        self._steps = steps
        lanes = steps.lanes.count if steps.lanes else 1
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._network = ThreadPoolExecutor(lanes, thread_name_prefix="stylise")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._making: list[Future[list[_Work]]] = []
        self._saving: deque[Future[list[_Result]]] = deque()

    def load(self, batch: Sequence[_Job]) -> Future[list[_Work]]:
        return self._loader.submit(self._steps.load, batch)

    def stylize(self, works: list[_Work], *, alone: bool) -> int:
        """Stylise here or begin to in a lane, and have it saved after that.

        Returns:
            how many may wait to be saved before the next is begun.
        """
        from concurrent.futures import FIRST_COMPLETED, wait

        lanes = self._steps.lanes
        if lanes is None or alone or not lanes.fits(works):
            wait(self._making)
            self._saving.append(self._writer.submit(self._steps.save, self._steps.stylize(works)))
            return 0 if alone else 1
        if len(self._making) == lanes.count:
            self._making = list(wait(self._making, return_when=FIRST_COMPLETED).not_done)
        making = self._network.submit(lanes.stylize, works)
        self._making.append(making)
        self._saving.append(self._writer.submit(lambda: self._steps.save(making.result())))
        return lanes.count

    def saved(self, most: int) -> Iterator[_Result]:
        """Results in their order, until at most so many are left to wait for."""
        while self._saving and (len(self._saving) > most or self._saving[0].done()):
            results = self._saving[0].result()  # it is still among them where an interrupt ends the wait
            self._saving.popleft()
            yield from results

    def interrupted(self) -> Iterator[_Result]:
        """The result of what was being saved; nothing is begun any more."""
        self._writer.shutdown(wait=False, cancel_futures=True)
        for future in self._saving:
            if not future.cancelled():
                yield from future.result()

    def close(self) -> None:
        """Wait for what is being done, and begin nothing."""
        for pool in (self._loader, self._network, self._writer):
            pool.shutdown(cancel_futures=True)
