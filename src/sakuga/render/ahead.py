"""Work beside the drawing: what comes next is read before it is wanted, what is done is written meanwhile.

One thread each, with a bounded queue between, so that memory does not grow. What goes wrong over there is raised here.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
PATIENCE_SECONDS = 0.1  # after which a thread that waits looks whether it is still wanted


@dataclass(frozen=True)
class _Failed:
    error: BaseException


class _End:
    """Nothing follows."""


@contextmanager
def ahead(items: Iterator[T], room: int) -> Iterator[Iterator[T]]:
    """The very same items, of which up to ``room`` are made before they are asked for; 0: none, and no thread.

    The thread has ended when the block ends, also when not all items were taken.
    """
    if room < 1:
        yield items
        return
    made: queue.Queue[T | _Failed | _End] = queue.Queue(room)
    unwanted = threading.Event()

    def put(item: T | _Failed | _End) -> bool:
        while not unwanted.is_set():
            try:
                made.put(item, timeout=PATIENCE_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as error:
            put(_Failed(error))
        else:
            put(_End())

    def taken() -> Iterator[T]:
        while not isinstance(item := made.get(), _End):
            if isinstance(item, _Failed):
                raise item.error
            yield item

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        unwanted.set()
        thread.join()


class Behind(Generic[T]):
    """Calls ``work`` with each item that is ``put``, in order and in a thread, while up to ``room`` items wait.

    Use it in a ``with`` block: at its end everything is done, or on an error what waits is dropped. An error of
    ``work`` is raised by the next ``put``, or at the end.
    """

    def __init__(self, work: Callable[[T], None], room: int) -> None:
        self._work = work
        self._waiting: queue.Queue[T | _End] = queue.Queue(room)
        self._error: BaseException | None = None
        self._dropped = False
        self._thread = threading.Thread(target=self._run, name="behind", daemon=True)

    def put(self, item: T) -> None:
        """Hand over the next item; waits while there is no room."""
        self._raise()
        self._waiting.put(item)

    def __enter__(self) -> Behind[T]:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._dropped = error is not None
        self._waiting.put(_End())
        self._thread.join()
        if error is None:
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while not isinstance(item := self._waiting.get(), _End):
            if self._error is not None or self._dropped:
                continue  # taken, so that nobody waits for room, and dropped
            try:
                self._work(item)
            except BaseException as error:
                self._error = error
