"""Colour: how the numbers of a source mean colours, in the code points of ITU-T H.273. Pure; converts nothing."""

from __future__ import annotations

from dataclasses import dataclass

RGB, BT709, UNSPECIFIED, FCC, BT470BG, SMPTE170M, SMPTE240M, BT2020 = 0, 1, 2, 4, 5, 6, 7, 9
SRGB_TRANSFER, PQ_TRANSFER, HLG_TRANSFER = 13, 16, 18
CONVERTIBLE = frozenset((BT709, FCC, BT470BG, SMPTE170M, SMPTE240M, BT2020))  # matrices that swscale knows
HD_WIDTH, HD_HEIGHT = 1280, 720


@dataclass(frozen=True, kw_only=True)
class Colour:
    """``matrix``, ``primaries`` and ``transfer`` as H.273 numbers them, none left unspecified."""

    matrix: int
    primaries: int
    transfer: int
    full_range: bool

    @classmethod
    def of_pictures(cls) -> Colour:
        """Photographs and drawings: sRGB, which a video keeps in a BT.709 matrix."""
        return cls(matrix=BT709, primaries=BT709, transfer=SRGB_TRANSFER, full_range=True)


def assumed_matrix(width: int, height: int) -> int:
    """What an untagged video is taken for, as players do: BT.709 from 1280 x 720 on, BT.601 below."""
    return BT709 if width >= HD_WIDTH or height >= HD_HEIGHT else SMPTE170M


def decided(tags: Colour, width: int, height: int) -> tuple[Colour, tuple[str, ...]]:
    """The same tags with everything unspecified, or unknown to the converter, as a player assumes it; and notes."""
    known = tags.matrix in CONVERTIBLE
    matrix = tags.matrix if known else assumed_matrix(width, height)
    family = SMPTE170M if matrix in (FCC, BT470BG) else matrix
    colour = Colour(
        matrix=matrix,
        primaries=family if tags.primaries in (0, UNSPECIFIED) else tags.primaries,
        transfer=_usual_transfer(family) if tags.transfer in (0, UNSPECIFIED) else tags.transfer,
        full_range=tags.full_range,
    )
    notes = []
    if not known and tags.matrix not in (RGB, UNSPECIFIED):
        notes.append(f"its colour matrix (H.273 number {tags.matrix}) is read as that of an untagged video")
    if colour.transfer in (PQ_TRANSFER, HLG_TRANSFER):
        notes.append("it is HDR (PQ or HLG); its light levels are taken as they are, without tone mapping")
    return colour, tuple(notes)


def _usual_transfer(family: int) -> int:
    return BT709 if family == BT2020 else family
