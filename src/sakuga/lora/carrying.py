"""Carrying: a part carries one applied stack at a time, for two could not give back what the other changed. And a part
with a weight that could not be taken back carries none, until that weight is written anew.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from torch import nn

from sakuga.errors import SakugaError
from sakuga.lora.stored import state_of

_carrying: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # every module of every part that carries a stack now
_spoiled: weakref.WeakKeyDictionary[nn.Module, dict[str, object]] = weakref.WeakKeyDictionary()  # kind → its state
_lock = threading.Lock()


@contextmanager
def carrying(parts: Mapping[str, nn.Module]) -> Iterator[None]:
    """Mark every module of the parts for the length of the block. Raises SakugaError when one is marked already, and
    when one is spoiled.
    """
    own = {module: name for name, part in parts.items() for module in part.modules()}
    held = False
    changed = spoiled(parts)
    if changed:
        raise SakugaError(
            "these parts hold weights that could not be taken back when adapters were applied before",
            given=", ".join(changed),
            expected="the weights of their files",
            do="load these parts again",
        )
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


def spoil(modules: Iterable[nn.Module], kind: str) -> None:
    """Mark a weight that could not be taken back, in all modules that hold it."""
    for module in modules:
        own = module._parameters.get(kind)
        if own is not None:
            _spoiled.setdefault(module, {})[kind] = state_of(own)


def spoiled(parts: Mapping[str, nn.Module]) -> list[str]:
    """The names of parts with a weight that could not be taken back and was not written anew since."""

    def still(module: nn.Module) -> bool:
        own = module._parameters
        return any(
            (now := own.get(kind)) is not None and state_of(now) == was for kind, was in _spoiled[module].items()
        )

    return [name for name, part in parts.items() if any(one in _spoiled and still(one) for one in part.modules())]
