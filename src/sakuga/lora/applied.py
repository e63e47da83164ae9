"""Applied: a stack at work on real modules. Knows the pristine bytes of every tensor it changed and puts them back,
whatever happens in between. Made by ``Stack.applied``; it is over when that block is.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit, SakugaError, nearest_name
from sakuga.lora.adapter import Adapter
from sakuga.lora.fused import copy_bits, fused, kept_copy
from sakuga.lora.targets import Target
from sakuga.lora.weight import StackWeight

Active = tuple[tuple[str, float, int], ...]  # (sha256, weight, which use of the target), in canonical order

_carrying: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # every module of every part that carries a stack now
_carrying_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What an applied stack does at this moment. ``tied`` names weights that more than one module holds: all change."""

    tensors: int
    changed_bytes: int
    kept_bytes: int
    tied: tuple[tuple[str, ...], ...]


class Applied:
    """The changed weights, and the way back. Deltas are computed anew whenever a weight changes: none is cached, so the
    memory taken is the kept copies plus about three times the largest tensor in fp32.
    """

    def __init__(
        self,
        *,
        adapters: Sequence[Adapter],
        parts: Mapping[str, nn.Module],
        targets: Sequence[Target],
        weights: Sequence[StackWeight],
    ) -> None:
        self._adapters, self._parts, self._targets = tuple(adapters), dict(parts), tuple(targets)
        self._weights: tuple[StackWeight, ...] = tuple(weights)
        self._kept: dict[Target, Tensor] = {}
        self._now: dict[Target, Active | None] = {}  # what a tensor holds; absent: pristine; None: being written
        self._over = False

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Apply on entering, restore on leaving. Raises SakugaError when a part already carries a stack."""
        held: list[nn.Module] = []
        try:
            self._take(held)
            self._write()
            yield
        finally:
            try:
                self._restore()
            finally:
                self._over = True
                self._kept.clear()
                self._now.clear()
                with _carrying_lock:
                    for module in held:
                        _carrying.discard(module)

    def set(self, weights: Mapping[str, StackWeight] | Sequence[StackWeight]) -> None:
        """New weights, by adapter name (the others stay) or one for each adapter of the stack, in its order.

        Only tensors whose effective weights change are rewritten. When it fails or is interrupted, the parts are left
        pristine until the next ``set``. Raises SakugaError for a name that is not in the stack or is in it twice.
        """
        if self._over:
            raise SakugaError("the stack is not applied any more", do="call set inside the with block")
        new = self._named(weights) if isinstance(weights, Mapping) else self._listed(weights)
        self._check_components(new)
        self._weights = new
        self._write()

    @property
    def weights(self) -> tuple[StackWeight, ...]:
        """The weights asked for last, one for each adapter of the stack, in its order."""
        return self._weights

    @property
    def summary(self) -> Summary:
        """Counts and bytes of what is changed now."""
        changed = [target for target, active in self._now.items() if active]
        return Summary(
            tensors=len(changed),
            changed_bytes=sum(target.weight.nbytes for target in changed),
            kept_bytes=sum(kept.nbytes for kept in self._kept.values()),
            tied=tuple(target.names for target in changed if len(target.names) > 1),
        )

    def _take(self, held: list[nn.Module]) -> None:
        """Mark every module of the parts as carrying a stack, and note them in ``held``."""
        own = {module: name for name, part in self._parts.items() for module in part.modules()}
        with _carrying_lock:
            busy = sorted({name for module, name in own.items() if module in _carrying})
            if busy:
                raise SakugaError(
                    "these parts already carry an applied stack",
                    given=", ".join(busy),
                    do="leave the other with block first, or put all adapters into one Stack: they are summed",
                )
            held.extend(own)
            _carrying.update(own)

    def _named(self, weights: Mapping[str, StackWeight]) -> tuple[StackWeight, ...]:
        names = [adapter.name for adapter in self._adapters]
        for name in weights:
            if names.count(name) != 1:
                raise SakugaError(
                    "no such adapter is in the stack" if name not in names else "this adapter is in the stack twice",
                    given=name,
                    nearest=nearest_name(name, set(names) - {name}),
                    do="give one weight for each adapter, in the stack's order" if name in names else None,
                )
        return tuple(weights.get(name, old) for name, old in zip(names, self._weights, strict=True))

    def _listed(self, weights: Sequence[StackWeight]) -> tuple[StackWeight, ...]:
        if len(weights) != len(self._adapters):
            raise SakugaError(
                "the number of weights is not the number of adapters",
                given=f"{len(weights)} weights",
                expected=f"{len(self._adapters)}",
            )
        return tuple(weights)

    def _active(self, target: Target) -> Active:
        """What should act on the tensor, in the order of the adapters' contents, never in the order of the list."""
        return tuple(
            sorted(
                (self._adapters[use.entry].sha256, weight, index)
                for index, use in enumerate(target.uses)
                if (weight := self._weights[use.entry].on(use.component)) != 0
            )
        )

    def _write(self) -> None:
        try:
            for target in self._targets:
                active = self._active(target)
                if self._now.get(target, ()) != active:
                    self._write_one(target, active)
        except BaseException:
            self._restore()
            raise

    def _write_one(self, target: Target, active: Active) -> None:
        pristine = self._kept.get(target)
        parts = [(weight, target.uses[index].record) for _, weight, index in active]
        try:
            changed = fused(target.weight.detach() if pristine is None else pristine, parts)
        except AdapterDoesNotFit as problem:
            names = sorted({self._adapters[target.uses[index].entry].name for _, _, index in active})
            raise AdapterDoesNotFit(
                problem.title, given=f"{target.names[0]} with {', '.join(names)}", do="lower their weights"
            ) from None
        if changed is None and pristine is None:
            return
        if pristine is None:
            pristine = self._kept[target] = kept_copy(target.weight)
        self._now[target] = None
        copy_bits(target.weight, pristine if changed is None else changed)
        self._now[target] = active if changed is not None else ()

    def _check_components(self, weights: Sequence[StackWeight]) -> None:
        """A weight may be turned up from 0 only where there is a part to act on."""
        for adapter, weight in zip(self._adapters, weights, strict=True):
            missing = {patch.component for patch in adapter.patches} - set(self._parts)
            asked = sorted(component for component in missing if weight.on(component) != 0)
            if asked:
                raise SakugaError(
                    f"{adapter.name} is to act on a part that was not given",
                    given=", ".join(asked),
                    expected=", ".join(self._parts),
                )

    def _restore(self) -> None:
        """Give every changed tensor its pristine bytes. A Ctrl-C meanwhile is kept until all of them are back."""
        interrupt: KeyboardInterrupt | None = None
        lost: list[str] = []
        pending = [target for target in self._kept if self._now.get(target, ()) != ()]
        while pending:
            try:
                target = pending[-1]
                whole = target.owner._parameters.get("weight") is target.weight
                if target.weight.dtype == self._kept[target].dtype:
                    copy_bits(target.weight, self._kept[target])
                else:
                    whole = False
                if not whole:
                    lost.append(target.names[0])
                self._now[target] = ()
                pending.pop()
            except KeyboardInterrupt as caught:
                interrupt = caught
        if interrupt is not None:
            raise interrupt
        if lost:
            raise SakugaError(
                "weights were replaced or cast while adapters were applied, so they cannot be given back",
                given=", ".join(sorted(set(lost))[:5]),
                do="leave the with block before a part is moved, cast or loaded anew",
            )
