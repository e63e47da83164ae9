"""Applied: a stack at work on real modules. Decides nothing about numbers: it lets Swaps and live layers follow the
weights, and takes all of it back, whatever happens in between. Made by ``Stack.applied``; over when that block is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial

from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit, SakugaError
from sakuga.lora.adapter import Adapter
from sakuga.lora.algorithms.columns import together, wide_shape
from sakuga.lora.asked import Row, check_components, with_rows, with_weights
from sakuga.lora.cache import Active, Cache
from sakuga.lora.carrying import spoil
from sakuga.lora.fused import Part
from sakuga.lora.live import Beside, LiveLayer
from sakuga.lora.making import Job, Maker
from sakuga.lora.options import Options, Summary
from sakuga.lora.plan import Way, check_room, decide, needs
from sakuga.lora.reread import Reread, rereads, still_changed, ways_back
from sakuga.lora.rows import Strengths, Wanted
from sakuga.lora.swap import Swap, lost_weights
from sakuga.lora.targets import Holder, Target, Use
from sakuga.lora.weight import StackWeight


class Applied:
    """The changed weights and layers, and the way back."""

    def __init__(
        self,
        *,
        adapters: Sequence[Adapter],
        parts: Mapping[str, nn.Module],
        targets: Sequence[Target],
        weights: Sequence[StackWeight],
        options: Options,
    ) -> None:
        self._adapters, self._parts, self._targets = tuple(adapters), dict(parts), tuple(targets)
        self._options = options
        self._strengths = Strengths(Wanted(weights=tuple(weights)))
        self._uses = {target: self._by_content(target) for target in self._targets}
        self._swaps: dict[Target, Swap] = {}
        self._ways: Mapping[Target, Way] = {}
        self._planned: frozenset[int] | None = None  # for which varying entries the ways were decided
        self._fused: list[Target] = []
        self._layers: list[LiveLayer] = []
        self._now: dict[Target, Active | None] = {}  # what a tensor holds; absent: pristine; None: being written
        self._own: set[Target] = set()  # whose changed memory is not the cache's, so it may be written again
        self._lost: list[str] = []
        self._changed: dict[Target, SakugaError] = {}  # what could not be taken back, and why
        self._maker = Maker()
        self._over = False

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Apply on entering, restore on leaving. The caller sees to it that nobody else changes the parts meanwhile."""
        try:
            self._swaps = {target: Swap(target) for target in self._targets if not target.unwritable}
            self._follow(self._strengths.wanted, first=True)
            yield
        finally:
            try:
                try:
                    self._restore()
                finally:
                    self._tell_changed(over=True)
                if self._lost:
                    raise lost_weights(self._lost)
            finally:
                self._over = True

    def set(self, weights: Mapping[str, StackWeight | float] | Sequence[StackWeight | float]) -> None:
        """New weights, by adapter name (the others stay) or one for each adapter of the stack, in its order.
        A number is for both models. Only tensors whose effective weights change are computed again. When it fails or is
        interrupted, the parts are left pristine until the next ``set``. Raises SakugaError for a name that is not in
        the stack or is in it twice.
        """
        self._check_open()
        self._follow(with_weights(self._strengths.wanted, self._adapters, weights))

    def set_rows(self, rows: Mapping[str, Row] | Sequence[Row] | None) -> None:
        """Weights of the coming call of the network, by adapter name (the others stay) or for each in the order of the
        stack: one number, or a table ``[half][frame]`` for what differs inside the batch. None: the call is over.

        They take the place of ``StackWeight.unet``; block weights still multiply them, text encoders keep their
        own. A table makes the layers of its adapter live, until the adapter gets one number again. Without a table of
        this call such a layer is an error. Raises SakugaError for tables of different sizes.
        """
        self._check_open()
        self._follow(with_rows(self._strengths.wanted, self._adapters, rows))

    @property
    def weights(self) -> tuple[StackWeight, ...]:
        """The weights asked for last, one for each adapter of the stack, in its order."""
        return self._strengths.wanted.weights

    @property
    def summary(self) -> Summary:
        """Counts and bytes of what is changed now."""
        swaps = [swap for swap in self._swaps.values() if swap.given is not None]
        back = ways_back(swaps)
        return Summary(
            tensors=len(swaps),
            live=len(self._layers),
            fresh_bytes=sum(one.nbytes for one in back if one.way == Swap.way),
            factor_bytes=sum(layer.nbytes for layer in self._layers),
            ways=Counter(way.reason for way in self._ways.values()),
            back=back,
            tied=tuple(swap.target.names for swap in swaps if len(swap.target.names) > 1),
        )

    def _check_open(self) -> None:
        if self._over:
            raise SakugaError("the stack is not applied any more", do="call set inside the with block")

    def _by_content(self, target: Target) -> dict[tuple[str, int], list[Use]]:
        """The uses by adapter content and patch, in canonical order: never in the order of the list."""
        found: dict[tuple[str, int], list[Use]] = {}
        for use in target.uses:
            found.setdefault((self._adapters[use.entry].sha256, use.ordinal), []).append(use)
        return dict(sorted(found.items()))

    def _active(self, target: Target) -> Active:
        """What should act on the tensor. One adapter that is in the stack twice is one, with the sum of its weights."""
        sums = (
            (sha256, ordinal, math.fsum(self._strengths.constant(use) for use in uses))
            for (sha256, ordinal), uses in self._uses[target].items()
        )
        return tuple(one for one in sums if one[2] != 0)

    def _follow(self, wanted: Wanted, *, first: bool = False) -> None:
        """Bring all to what is wanted. All is checked before anything is changed; on failure all is pristine."""
        check_components(wanted, self._adapters, tuple(self._parts))
        ways = self._ways
        if self._planned != wanted.varying:
            ways = {target: decide(target, wanted.varying, self._options.live) for target in self._targets}
        self._strengths.change(wanted)
        if first:
            self._make_room(ways)
        try:
            if self._planned != wanted.varying:
                self._go(ways)
                self._planned = wanted.varying
            self._write()
        except BaseException:
            self._restore()
            self._tell_changed()
            raise

    def _make_room(self, ways: Mapping[Target, Way]) -> None:
        """Choose where the pristine bytes will come from; refuse what has no room in any way."""
        new = [target for target in self._targets if ways[target].live or not self._cached(target)]
        again = rereads(new, ways, self._options)
        self._swaps |= again
        own = {target for target, swap in again.items() if isinstance(swap, Reread)}
        check_room(needs([target for target in new if ways[target].live or self._active(target)], ways, own))

    def _cached(self, target: Target) -> bool:
        """Whether the cache has what the tensor is to be, so that no memory has to be found for it."""
        cache, active = self._cache_of(target), self._active(target)
        if cache is None or not active:
            return False
        cache.meet(target.parameters[0])
        return cache.holds(target.parameters[0], active)

    def _go(self, ways: Mapping[Target, Way]) -> None:
        """Change over to other ways: layers that are live have their own weights."""
        self._detach()
        self._ways, self._fused = ways, [target for target, way in ways.items() if not way.live]
        besides: dict[int, tuple[Holder, list[Beside]]] = {}
        for target, way in ways.items():
            if way.live:
                self._back(target)
                for holder in target.holders:
                    _, found = besides.setdefault(id(holder.module), (holder, []))
                    found += [Beside(kind=target.kind, use=use) for use in target.uses]
        for holder, found in besides.values():
            motion = self._options.motion(holder.component, holder.path)
            self._layers.append(LiveLayer(holder, found, self._strengths, motion=motion))
        for layer in self._layers:
            layer.attach()

    def _detach(self) -> None:
        while self._layers:
            self._layers[-1].detach()
            self._layers.pop()

    def _write(self) -> None:
        """Let every tensor that is not live be what its adapters make of it now."""
        tasks = []
        for target in self._fused:
            active = self._active(target)
            if self._now.get(target, ()) != active:
                job = self._job(target, active)
                if job is not None:
                    tasks.append(((target, active, job.out), job))
        with closing(self._maker.make(tasks)) as making:
            for (target, active, out), made in making:
                self._show(target, active, out, made)

    def _job(self, target: Target, active: Active) -> Job | None:
        """What is to be computed, in new memory or over what is not wanted any more; None: it is there already."""
        swap, cache = self._swaps[target], self._cache_of(target)
        if cache is not None and swap.given is None:
            cache.meet(target.parameters[0])
        if not active or swap.written:
            self._back(target)
        found = cache.fused(target.parameters[0], active) if cache is not None and active else None
        if found is not None:
            self._own.discard(target)
            swap.give(found)
        if found is not None or not active:
            self._now[target] = active
            return None
        self._now[target] = None
        uses = [self._uses[target][sha256, ordinal][0] for sha256, ordinal, _ in active]
        records = together(target.shape, [use.record for use in uses])
        pristine, out = swap.memory(target in self._own, wide_shape(target.shape, records))
        parts = tuple(
            Part(strength=strength, record=record, into=use.into)
            for use, record, (_, _, strength) in zip(uses, records, active, strict=True)
        )
        return Job(pristine=pristine, parts=parts, out=out)

    def _show(self, target: Target, active: Active, out: Tensor, made: Callable[[], bool]) -> None:
        """Wait for a weight and let its layers see it."""
        try:
            changed = made()
        except AdapterDoesNotFit as problem:
            hashes = {sha256 for sha256, _, _ in active}
            names = sorted({adapter.name for adapter in self._adapters if adapter.sha256 in hashes})
            raise AdapterDoesNotFit(
                problem.title, given=f"{target.names[0]} with {', '.join(names)}", do="lower their weights"
            ) from None
        cache = self._cache_of(target)
        if not changed:
            self._back(target)
        else:
            self._swaps[target].give(out)
            kept = cache is not None and cache.keep(target.parameters[0], active, out)
            (self._own.discard if kept else self._own.add)(target)
        self._now[target] = active

    def _cache_of(self, target: Target) -> Cache | None:
        swap = self._swaps.get(target)
        return self._options.cache if target.parameters and not isinstance(swap, Reread) else None

    def _back(self, target: Target) -> None:
        """Give a tensor its own memory back. May be repeated."""
        swap, cache, active = self._swaps.get(target), self._cache_of(target), self._now.get(target)
        if swap is None or swap.given is None:
            return
        if cache is not None and active and swap.written:
            cache.drop(target.parameters[0], active)
        self._lost += swap.back()
        if cache is not None:
            cache.part(target.parameters[0])
        self._own.discard(target)
        self._now.pop(target, None)

    def _restore(self) -> None:
        """Take back all that can be. A Ctrl-C meanwhile is kept until all of it is done."""
        interrupt: KeyboardInterrupt | None = None
        pending: list[Callable[[], None]] = [self._detach, *(partial(self._try_back, target) for target in self._swaps)]
        while pending:
            try:
                pending[-1]()
                pending.pop()
            except KeyboardInterrupt as caught:
                interrupt = caught
        self._now = dict.fromkeys(self._changed)
        self._ways, self._fused, self._planned = {}, [], None
        if interrupt is not None:
            raise interrupt

    def _try_back(self, target: Target) -> None:
        self._changed.pop(target, None)
        try:
            self._back(target)
        except SakugaError as problem:
            self._changed[target] = problem

    def _tell_changed(self, *, over: bool = False) -> None:
        """Raise what could not be taken back. When the block is ``over`` those layers are marked, so that nobody takes
        what they hold for pristine.
        """
        if not self._changed:
            return
        for target in self._changed if over else ():
            spoil(target.parameters)
        raise still_changed(self._changed)
