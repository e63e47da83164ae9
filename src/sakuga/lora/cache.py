"""Cache: parsed adapters and fused weights that may be wanted again, within a budget of bytes for the host and one for
each other device. The least recently used goes first. Nothing is kept but by what it was made of.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from sakuga.lora.adapter import Adapter
from sakuga.lora.algorithms.record import tensors_of
from sakuga.lora.read import read_adapter
from sakuga.lora.stored import state_of
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap

Active = tuple[tuple[str, int, float], ...]  # (sha256, which patch of the adapter on this tensor, strength)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """For the Report: how often something was found or not, and the bytes that are kept."""

    hits: int = 0
    misses: int = 0
    host_bytes: int = 0
    device_bytes: int = 0


@dataclass(kw_only=True)
class _Kept:
    value: object
    nbytes: int
    host: bool


@dataclass(frozen=True, kw_only=True)
class _Read:
    adapter: Adapter
    names: NameMap  # held, so that its id stays its own


class Cache:
    """Budgets in bytes; 0 keeps nothing. One cache may serve many stacks and models, one after another."""

    def __init__(self, *, host_bytes: int, device_bytes: int = 0) -> None:
        self._budgets = {True: host_bytes, False: device_bytes}
        self._bytes = {True: 0, False: 0}
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._pristine: dict[int, tuple[weakref.ref[nn.Parameter], object]] = {}
        self._hits = self._misses = 0

    @property
    def counts(self) -> Counts:
        """What has happened so far, and what is kept now."""
        return Counts(
            hits=self._hits, misses=self._misses, host_bytes=self._bytes[True], device_bytes=self._bytes[False]
        )

    def adapter(
        self,
        path: Path,
        names: NameMap,
        name: str,
        *,
        model: Hashable = None,
        read: Callable[[TensorFile, NameMap, str], Adapter] = read_adapter,
    ) -> Adapter:
        """The adapter in ``path``, read now or kept from before, as long as the file is the same.

        ``model`` says which model ``names`` is of; None: this very NameMap. Raises as ``read_adapter`` does.
        """
        seen = path.stat() if path.exists() else None
        key = ("adapter", path.resolve(), seen and (seen.st_size, seen.st_mtime_ns), model or id(names))
        kept = self._find(key)
        if isinstance(kept, _Read):
            return kept.adapter if kept.adapter.name == name else replace(kept.adapter, name=name)
        with TensorFile.open(path) as file:
            adapter = read(file, names, name)
        self._keep(key, _Read(adapter=adapter, names=names), factor_bytes(adapter), host=True)
        return adapter

    def fused(self, weight: nn.Parameter, active: Active) -> Tensor | None:
        """The memory with these adapters in ``weight``, as it was when it was kept."""
        found = self._find(("fused", id(weight), active))
        return found if isinstance(found, Tensor) else None

    def holds(self, weight: nn.Parameter, active: Active) -> bool:
        """Whether ``fused`` would give something; not counted as a search."""
        return ("fused", id(weight), active) in self._kept

    def keep(self, weight: nn.Parameter, active: Active, changed: Tensor) -> bool:
        """Keep what was made for ``weight``; from here on nobody may write into it. False when there is no room."""
        key = ("fused", id(weight), active)
        return self._keep(key, changed, changed.nbytes, host=changed.device.type == "cpu")

    def drop(self, weight: nn.Parameter, active: Active) -> None:
        """Forget what was made: somebody wrote into it."""
        self._forget(("fused", id(weight), active))

    def meet(self, weight: nn.Parameter) -> None:
        """Say that a pristine weight is about to be changed. What was made of it is dropped if it is another by now:
        written into by somebody, pointed elsewhere, or gone.
        """
        known = self._pristine.get(id(weight))
        if known is not None and (known[0]() is not weight or known[1] != state_of(weight)):
            for key in [key for key in self._kept if isinstance(key, tuple) and key[:2] == ("fused", id(weight))]:
                self._forget(key)

    def part(self, weight: nn.Parameter) -> None:
        """Say that a weight is pristine again, and remember how it is now."""
        self._pristine[id(weight)] = (weakref.ref(weight), state_of(weight))

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._pristine.clear()
        self._bytes = {True: 0, False: 0}

    def _find(self, key: Hashable) -> object:
        kept = self._kept.get(key)
        if kept is None:
            self._misses += 1
            return None
        self._hits += 1
        self._kept.move_to_end(key)
        return kept.value

    def _keep(self, key: Hashable, value: object, nbytes: int, *, host: bool) -> bool:
        self._forget(key)
        if nbytes > self._budgets[host]:
            return False
        while self._bytes[host] + nbytes > self._budgets[host]:
            self._forget(next(old for old, kept in self._kept.items() if kept.host == host))
        self._kept[key] = _Kept(value=value, nbytes=nbytes, host=host)
        self._bytes[host] += nbytes
        return True

    def _forget(self, key: Hashable) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes[kept.host] -= kept.nbytes


def factor_bytes(adapter: Adapter) -> int:
    """The bytes of an adapter's factors, each tensor once."""
    return sum(
        tensor.nbytes
        for tensor in {id(one): one for patch in adapter.patches for one in tensors_of(patch.record)}.values()
    )
