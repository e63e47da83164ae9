"""Noise: what happens to the bytes of a file on its way: bits flipped, parts lost, doubled, or taken from another."""

from __future__ import annotations

from random import Random

TOKENS = (
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"-1",
    b"1e999",
    b"NaN",
    b"\\ud800",
    b"\xff",
    b"\0",
    b"9" * 20,
)
TOKENS += (
    b"__metadata__",
    b'"shape":[]',
    b"cos\nsystem\n",
    b"\x80\x04\x95",
    b"R.",
    b"PK\x03\x04",
    b"h\x00",
    b"\x94",
    b"b.",
)


def noisy(raw: bytes, other: bytes, chance: Random) -> bytes:
    """The bytes with one to four accidents; ``other`` is a file to take bytes from."""
    data = bytearray(raw)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if data:
            _ACCIDENTS[chance.randrange(len(_ACCIDENTS))](data, other, chance)
    return bytes(data)


def _near(data: bytearray, chance: Random) -> int:
    """A place in the file, more often in its first part, which says what the rest is."""
    return chance.randrange(len(data) if chance.random() < 0.4 else min(len(data), 1500))


def _flip(data: bytearray, other: bytes, chance: Random) -> None:
    data[_near(data, chance)] ^= 1 << chance.randrange(8)


def _byte(data: bytearray, other: bytes, chance: Random) -> None:
    data[_near(data, chance)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))


def _cut(data: bytearray, other: bytes, chance: Random) -> None:
    del data[chance.randrange(len(data)) :]


def _lost(data: bytearray, other: bytes, chance: Random) -> None:
    start = _near(data, chance)
    del data[start : start + chance.choice((1, 2, 8, 64))]


def _doubled(data: bytearray, other: bytes, chance: Random) -> None:
    start = _near(data, chance)
    data[start:start] = data[start : start + chance.choice((1, 8, 64, 500))]


def _taken(data: bytearray, other: bytes, chance: Random) -> None:
    start = chance.randrange(len(other) + 1)
    piece = other[start : start + chance.choice((8, 64, 500))]
    at = _near(data, chance)
    data[at : at + (len(piece) if chance.random() < 0.5 else 0)] = piece


def _token(data: bytearray, other: bytes, chance: Random) -> None:
    at = _near(data, chance)
    data[at : at + chance.choice((0, 1, 3))] = chance.choice(TOKENS)


def _length(data: bytearray, other: bytes, chance: Random) -> None:
    now = int.from_bytes(data[:8], "little")
    size = chance.choice((0, 1, now - 1, now + 1, now * 2, len(data) - 8, len(data), 2**32, 2**63, 2**64 - 1))
    data[:8] = (max(size, 0) % 2**64).to_bytes(8, "little")


def _digit(data: bytearray, other: bytes, chance: Random) -> None:
    """Another digit where there is one: sizes and offsets."""
    start = _near(data, chance)
    for at in range(start, min(len(data), start + 400)):
        if 0x30 <= data[at] <= 0x39:
            data[at] = 0x30 + chance.randrange(10)
            return


_ACCIDENTS = (_flip, _flip, _byte, _cut, _lost, _doubled, _taken, _token, _token, _length, _digit, _digit)
