"""Reread: the way back where a second copy of a weight has no room. The weight is changed in its own memory, and its
pristine bytes are read from the file again, for the next change and for the way back.

Before anything is changed, the file is held against the weight bit by bit; later against a checksum of what it gave
then, so that a file which was exchanged meanwhile is noticed and never used. See docs/decisions/0004.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from sakuga.errors import SakugaError
from sakuga.lora.algorithms.columns import Widening
from sakuga.lora.fused import copy_bits, same_bits
from sakuga.lora.options import Options, WayBack
from sakuga.lora.origin import Origin
from sakuga.lora.plan import Way, lacking, mib, needs
from sakuga.lora.stored import dense, state_of
from sakuga.lora.swap import Swap, some
from sakuga.lora.targets import Target
from sakuga.tensors.seat import Shape

WISHED = "it was asked for"
UNKNOWN = "its file is not known"
APART = "it cannot be changed where it is"


class Reread(Swap):
    """One target that is changed in its own memory."""

    way = "reread from the file"

    def __init__(self, target: Target, origin: Origin, why: str) -> None:
        super().__init__(target, why)
        self._origin = origin
        self._checksum = 0
        self._states: tuple[object, ...] = ()

    def agrees(self) -> bool | None:
        """Whether the origin gives the bits that are there now; None when it gives none."""
        with self._telling():
            numbers, own = self._read(), self._pristine[0]
            if numbers is None:
                return None
            self._checksum, self._states = _checksum(numbers), self._now()
            return numbers.shape == own.shape and same_bits(own, numbers.to(own.dtype).to(own.device))

    def memory(self, reuse: bool, shape: Shape) -> tuple[Tensor, Tensor]:
        """The weight's own memory, with the pristine numbers in it, twice: it is read and written. Raises SakugaError
        when they cannot be read again, and when somebody changed a pristine weight.
        """
        if self._given is not None:
            self._refill()
        elif self._now() != self._states and not self.agrees():
            raise other_numbers([self.target.names[0]])
        self._given, self._version = self._pristine[0], None  # from here on it may be written
        return self._given, self._given

    def back(self) -> tuple[str, ...]:
        """Read the pristine bytes again. May be repeated. Raises SakugaError, with nothing written, when that fails."""
        if self._given is None:
            return ()
        self._refill()
        lost = super().back()
        self._states = self._now()
        return lost

    def _refill(self) -> None:
        with self._telling():
            numbers, own = self._read(), self._pristine[0]
            if numbers is None or _checksum(numbers) != self._checksum:
                raise SakugaError("it holds other numbers than before")
            with torch.inference_mode(own.is_inference()):
                copy_bits(own, numbers.to(own.dtype).reshape(own.shape))

    def _read(self) -> Tensor | None:
        """The numbers as the origin gives them, under the first of the weight's names that it knows."""
        for holder in self.target.holders:
            numbers = self._origin(holder.component, holder.path, self.target.kind)
            if numbers is not None:
                return numbers.detach()
        return None

    def _now(self) -> tuple[object, ...]:
        return tuple(state_of(own) for own in self.target.parameters)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Whatever goes wrong while numbers are read, told with the name of the weight."""
        try:
            yield
        except Exception as problem:  # an origin is the caller's, and may raise anything
            said = problem.title if isinstance(problem, SakugaError) else f"{type(problem).__name__}: {problem}"
            raise SakugaError(
                "pristine numbers cannot be read again from their file",
                given=f"{self.target.names[0]}.{self.target.kind}: {said}",
                expected="the file that the part was loaded from, as it was then",
                do="put the file back where it was, and leave it there until the with block is over",
            ) from problem


def rereads(targets: Sequence[Target], ways: Mapping[Target, Way], options: Options) -> dict[Target, Swap]:
    """The way back of those targets that it has to be chosen for: of fused ones, where the second copy of all of them
    does not fit beside what else is wanted on their device, or where the caller asks.

    Raises SakugaError when the origin gives other numbers than the weights have. Nothing is changed.
    """
    if options.origin is None:
        if options.reread:
            raise SakugaError(
                "weights cannot be reread, for nobody says from where",
                given="reread without an origin",
                do="give the origin too: sakuga.lora.origin.origin_of makes one of files",
            )
        return {}
    short = {} if options.reread else lacking(needs(targets, ways))
    found: dict[Target, Swap] = {}
    other = []
    for target in targets:
        if ways[target].live or not target.parameters:
            continue
        device = str(target.parameters[0].device)
        if not options.reread and device not in short:
            continue
        if not _in_place(target):
            found[target] = Swap(target, APART)
            continue
        why = WISHED if options.reread else _short(device, *short[device])
        swap = Reread(target, options.origin, why)
        agrees = swap.agrees()
        found[target] = Swap(target, UNKNOWN) if agrees is None else swap
        other += [target.names[0]] if agrees is False else []
    if other:
        raise other_numbers(other)
    return found


def ways_back(swaps: Iterable[Swap]) -> tuple[WayBack, ...]:
    """Where the pristine bytes of changed weights will come from, each way and reason once, with what it holds."""
    found: dict[tuple[str, str], list[int]] = {}
    for swap in swaps:
        found.setdefault((swap.way, swap.why), []).append(swap.given.nbytes if swap.given is not None else 0)
    return tuple(
        WayBack(way=way, why=why, tensors=len(sizes), nbytes=sum(sizes)) for (way, why), sizes in found.items()
    )


def still_changed(problems: Mapping[Target, SakugaError]) -> SakugaError:
    """The error of weights that could not be taken back, with what went wrong with the first of them."""
    names = {target.names[0]: problem for target, problem in problems.items()}
    first = names[min(names)]
    return SakugaError(
        "weights are still changed, for their pristine bytes cannot be read again",
        given=f"{some(sorted(names))} ({first.given})",
        expected=first.expected,
        do="load these parts again before they are used; all other weights are as they were",
    )


def other_numbers(names: Sequence[str]) -> SakugaError:
    """The error of weights that are not those of their file."""
    return SakugaError(
        "weights are not those of their file, so they could not be read back from it",
        given=some(names),
        expected="a file that is as it was when the part was loaded from it, and a part that nobody has changed since",
        do="load the part again, or make room for a second copy of its weights; this one was not changed",
    )


def _in_place(target: Target) -> bool:
    """Whether a tensor can be changed where it is: it is in one piece, and stays as large as it is."""
    wider = any(isinstance(use.record, Widening) for use in target.uses)
    return dense(target.parameters[0]) and not wider


def _short(device: str, wanted: int, free: int) -> str:
    return f"{mib(wanted)} of second copies do not fit in the {mib(free)} that are free on {device}"


def _checksum(numbers: Tensor) -> int:
    return zlib.crc32(numbers.cpu().reshape(-1).view(torch.uint8).numpy().data)
