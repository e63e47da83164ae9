"""Carrying: a part carries one applied stack at a time, for two could not give back what the other changed."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn

from sakuga.errors import SakugaError

_carrying: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # every module of every part that carries a stack now
_lock = threading.Lock()


@contextmanager
def carrying(parts: Mapping[str, nn.Module]) -> Iterator[None]:
    """Mark every module of the parts for the length of the block. Raises SakugaError when one is marked already."""
    own = {module: name for name, part in parts.items() for module in part.modules()}
    held = False
    try:
        with _lock:
            busy = sorted({name for module, name in own.items() if module in _carrying})
            if busy:
                raise SakugaError(
                    "these parts already carry an applied stack",
                    given=", ".join(busy),
                    do="leave the other with block first, or put all adapters into one Stack: they are summed",
                )
            held = True
            _carrying.update(own)
        yield
    finally:
        if held:
            with _lock:
                _carrying.difference_update(own)
