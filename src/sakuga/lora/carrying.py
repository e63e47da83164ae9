"""Carrying: a weight carries one applied stack at a time, for two could not give back what the other changed. That also
holds for one weight in two models. And a part with a weight that could not be taken back carries none, until that
weight is written anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from sakuga.errors import SakugaError
from sakuga.lora.stored import memory_of, state_of

_carried: set[object] = set()  # the modules, Parameters and memory of all parts that carry a stack now
_spoiled: WeakIdKeyDictionary = WeakIdKeyDictionary()  # Parameter → its state when it could not be taken back
_lock = threading.Lock()


@contextmanager
def carrying(parts: Mapping[str, nn.Module]) -> Iterator[None]:
    """Mark all that the parts consist of for the length of the block. Raises SakugaError when some of it is marked
    already, be it through another model, and when a weight is spoiled.
    """
    own = {mark: (name, thing) for name, part in parts.items() for mark, thing in _marks(part)}
    changed = spoiled(parts)
    if changed:
        raise SakugaError(
            "these parts hold weights that could not be taken back when adapters were applied before",
            given=", ".join(changed),
            expected="the weights of their files",
            do="load these parts again",
        )
    with _lock:
        busy = sorted({name for mark, (name, _) in own.items() if mark in _carried})
        if busy:
            raise SakugaError(
                "these parts already carry an applied stack",
                given=", ".join(busy),
                expected="weights that no other with block has changed, not even in another model that shares them",
                do="leave the other with block first, or put all adapters into one Stack: they are summed",
            )
        _carried.update(own)
    try:
        yield
    finally:
        with _lock:
            _carried.difference_update(own)


def spoil(parameters: Iterable[nn.Parameter]) -> None:
    """Mark weights that could not be taken back, and with them whatever else lies in their memory."""
    for own in parameters:
        _spoiled[own] = state_of(own)


def spoiled(parts: Mapping[str, nn.Module]) -> list[str]:
    """The names of parts with a weight that could not be taken back and was not written anew since."""
    if not _spoiled:  # as nearly always
        return []
    memory = {memory_of(own) for own in list(_spoiled) if _still_spoiled(own)} - {None}
    return [
        name
        for name, part in parts.items()
        if any(_still_spoiled(own) or (memory and memory_of(own) in memory) for own in _weights(part))
    ]


def _marks(part: nn.Module) -> Iterator[tuple[object, object]]:
    """What a stack may change in a part: modules, Parameters, and the memory of these. Each with what has to live as
    long as its mark, since marks are ids.
    """
    for module in part.modules():
        yield id(module), module
    for own in _weights(part):
        yield id(own), own
        memory = memory_of(own)
        if memory is not None:
            yield memory, own


def _weights(part: nn.Module) -> Iterator[nn.Parameter]:
    return (own for module in part.modules() for own in module._parameters.values() if own is not None)


def _still_spoiled(own: nn.Parameter) -> bool:
    return own in _spoiled and _spoiled[own] == state_of(own)
