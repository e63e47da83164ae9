"""SoundCopy: the source's sound packets, bit for bit, for the part of the clip that is written. Decodes nothing.

A packet belongs to that part when it begins in it. One whose time does not rise cannot be stored; the notes tell it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Generic, Protocol, TypeVar


class SoundPacket(Protocol):
    """What of a packet matters here; its times are ticks of ``time_base``."""

    pts: int | None
    dts: int | None
    duration: int | None
    stream_index: int
    time_base: Fraction


FINEST = 2**31 - 1  # ticks a second that FFmpeg can count
P = TypeVar("P", bound=SoundPacket)


@dataclass(kw_only=True)
class SoundCopy(Generic[P]):
    """Hands ``packets`` on to ``send`` when their time has come; all times in seconds of the source.

    ``begin``: where the written part begins, None for the very beginning. ``shift``: what is taken off every time.
    """

    packets: Iterator[P]
    send: Callable[[P], None]
    begin: Fraction | None
    shift: Fraction
    _next: P | None = None
    _last: dict[int, int] = field(default_factory=dict)
    _unusable: int = 0

    def until(self, seconds: Fraction | None) -> None:
        """Send the packets that begin before ``seconds``; None: all that are left."""
        while (packet := self._peek()) is not None:
            moment = packet.pts if packet.pts is not None else packet.dts
            begins = (moment or 0) * packet.time_base
            if seconds is not None and begins >= seconds:
                return
            self._next = None
            if self.begin is None or begins >= self.begin:
                self._send(packet, moment)

    def notes(self) -> tuple[str, ...]:
        """What could not be copied."""
        if not self._unusable:
            return ()
        return (f"{self._unusable} packets of sound are left out: their times are missing or do not rise",)

    def _peek(self) -> P | None:
        self._next = self._next if self._next is not None else next(self.packets, None)
        return self._next

    def _send(self, packet: P, moment: int | None) -> None:
        last = self._last.get(packet.stream_index)
        order = packet.dts if packet.dts is not None else moment
        if order is None or (last is not None and order <= last):
            self._unusable += 1
            return
        self._last[packet.stream_index] = order
        if self.shift:
            self._move(packet)
        self.send(packet)

    def _move(self, packet: P) -> None:
        """Take ``shift`` off the packet's times, in ticks fine enough for both (a block of sound may be one tick)."""
        old = packet.time_base
        fine = math.lcm(old.denominator, self.shift.denominator)
        base = Fraction(1, fine) if fine <= FINEST else old
        packet.time_base = base
        packet.pts = None if packet.pts is None else round((packet.pts * old - self.shift) / base)
        packet.dts = None if packet.dts is None else round((packet.dts * old - self.shift) / base)
        packet.duration = None if packet.duration is None else round(packet.duration * old / base)
