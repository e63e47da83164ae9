"""Making: many changed weights at once, on the CPU each in one thread of its own. That is quicker than many threads for
one weight after another, since memory is taken by some while others multiply; and it makes the bits of a weight
independent of the number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from sakuga.lora.fused import Part, Scratch, fused
from sakuga.lora.threads import one_thread

Task = TypeVar("Task")
MOST_THREADS = 8  # each needs a few MiB beside its weight, and more would only wait for memory
WORTH_BYTES = 8 * 2**20  # below this, starting threads takes longer than the work


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A weight to be made: ``parts`` added to ``pristine``, into ``out``, which may be the same memory."""

    pristine: Tensor
    parts: tuple[Part, ...]
    out: Tensor


class Maker:
    """Makes weights. Scratch memory is kept from one time to the next."""

    def __init__(self) -> None:
        self._scratch = _OwnScratch()

    def make(self, tasks: Sequence[tuple[Task, Job]]) -> Generator[tuple[Task, Callable[[], bool]]]:
        """Each task, in order, with a function that waits for its weight: whether it changed, or what went wrong.

        When the caller stops asking, what has not begun is not made; nobody looks at what is being made then.
        """
        threads = min(torch.get_num_threads(), MOST_THREADS, len(tasks))
        on_cpu = all(job.out.device.type == "cpu" for _, job in tasks)
        alone = threads < 2 or not on_cpu or sum(job.out.nbytes for _, job in tasks) < WORTH_BYTES
        with _exact_products(), one_thread() if on_cpu else nullcontext():
            if alone:
                for task, job in tasks:
                    yield task, partial(_made, job, self._scratch)
                return
            pool = ThreadPoolExecutor(threads)
            try:
                waiting = [(task, pool.submit(_made, job, self._scratch)) for task, job in tasks]
                for task, future in waiting:
                    yield task, future.result
            finally:
                _end(pool)


def _end(pool: ThreadPoolExecutor) -> None:
    """Wait until nobody writes any more. A Ctrl-C meanwhile is kept until then, for the memory is given back next."""
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            pool.shutdown(cancel_futures=True)
            break
        except KeyboardInterrupt as caught:
            interrupt = caught
    if interrupt is not None:
        raise interrupt


class _OwnScratch(threading.local):
    """Scratch memory of each thread."""

    def __init__(self) -> None:
        self.memory = Scratch()


def _made(job: Job, scratch: _OwnScratch) -> bool:
    with torch.inference_mode(job.out.is_inference()), torch.no_grad():
        return fused(job.pristine, job.parts, job.out, scratch.memory)


@contextmanager
def _exact_products() -> Iterator[None]:
    """Products in fp32 and nothing less, whatever the switches for faster products say."""
    backends: Any = torch.backends
    switches = (backends.cuda.matmul, backends.mkldnn.matmul)
    before = [switch.fp32_precision for switch in switches]
    loose = any(precision not in ("ieee", "none") for precision in before)
    try:
        for switch in switches if loose else ():
            switch.fp32_precision = "ieee"
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True) if loose else ():
            switch.fp32_precision = precision
