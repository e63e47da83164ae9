"""What a decoded picture says of itself: how it is turned, what its numbers mean. What it leaves open is decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from sakuga.video.tags import Colour, decided
from sakuga.video.turn import Turn, turn_by, turn_of

VideoFrame: TypeAlias = Any  # PyAV's, which has two doors, and this is none of them
FULL_RANGE = 2  # AVCOL_RANGE_JPEG


def turn_in(picture: VideoFrame, notes: list[str]) -> Turn:
    """How the picture is to be turned for people to see it."""
    try:
        beside = cast("Mapping[str, bytes]", picture.side_data)
        turn = turn_of(bytes(beside["DISPLAYMATRIX"])) if "DISPLAYMATRIX" in beside else Turn()
    except ValueError:  # PyAV lists no data that are newer than itself, but knows the angle even then
        turn = turn_by(picture.rotation)
    if turn is None:
        notes.append(f"it asks to be turned by {picture.rotation} degrees, which is not done")
    return turn or Turn()


def colour_in(picture: VideoFrame, notes: list[str]) -> Colour:
    """The picture's tags, with what they leave open decided as players do."""
    full = picture.color_range == FULL_RANGE or picture.format.name.startswith("yuvj")
    tags = Colour(
        matrix=picture.colorspace,
        primaries=picture.color_primaries,
        transfer=picture.color_trc,
        full_range=full or picture.format.is_rgb or picture.format.name == "pal8",
    )
    colour, found = decided(tags, picture.width, picture.height)
    notes += found
    if picture.interlaced_frame:
        notes.append("it is interlaced; its two fields are not separated")
    return colour
