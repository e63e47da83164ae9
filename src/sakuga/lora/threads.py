"""Threads: many small operations of torch, each in one thread. Sharing each among all cores would cost more in waiting
for one another than it saves, much more on a busy machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Operations inside use one thread each, also in threads that are started inside."""
    threads = torch.get_num_threads()
    try:
        if threads > 1:
            torch.set_num_threads(1)
        yield
    finally:
        if threads > 1:
            torch.set_num_threads(threads)
