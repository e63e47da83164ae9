"""Single pictures: bytes of a JPEG, PNG or WebP file to RGB pixels, and back.

What a picture holds beyond eight bits of colour is reduced in one stated way: 16 bits are rounded to 8, grey becomes
three equal channels, transparency is laid over white paper, EXIF rotation is applied, colour profiles are not. A file
that is cut off is refused, never shown half grey. Sources of the headers: PNG (W3C), JPEG (ITU-T T.81), RFC 9649.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from sakuga.errors import ClipError
from sakuga.video.turn import Turn

if TYPE_CHECKING:
    from numpy.typing import NDArray

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
HEAD_BYTES = 64  # enough to know a picture from anything else
JPEG_QUALITY = 95
PNG_END = b"IEND\xaeB`\x82"  # its last chunk, which is always the same
FRAMES_OF_JPEG = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF markers


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a picture's bytes say: its stored size (before EXIF rotation), whether it is whole, and whether it moves."""

    format: Literal["JPEG", "PNG", "WebP"]
    width: int
    height: int
    whole: bool
    moving: bool


def is_picture(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a JPEG, PNG or WebP picture."""
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def picture_head(data: bytes) -> Head | None:
    """The header of a whole picture file; None when it is none or breaks off before its size."""
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg_head(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack(">II", data[16:24])
            body = data.find(b"IDAT")
            moving = 0 < data.find(b"acTL") < body
            return Head(format="PNG", width=width, height=height, whole=PNG_END in data[-4096:], moving=moving)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_head(data)
    except (struct.error, IndexError):
        return None
    return None


def read_picture(path: Path) -> NDArray[np.uint8]:
    """The pixels of a picture file, RGB uint8 (height, width, 3). Raises ``ClipError``."""
    return decode_picture(picture_bytes(path), path)


def picture_bytes(path: Path) -> bytes:
    """The bytes of a file, or ``ClipError`` instead of ``OSError``."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ClipError(
            f"{path.name} cannot be read", given=f"{path}: {error.strerror}", do="see its rights"
        ) from error


def decode_picture(data: bytes, path: Path) -> NDArray[np.uint8]:
    """As ``read_picture``, from the bytes of the file; ``path`` is for the error."""
    import cv2

    head = picture_head(data)
    if head is None or not head.whole:
        raise ClipError(
            f"{path.name} is not a whole picture",
            given=f"{head.format} of {len(data)} bytes that breaks off"
            if head
            else f"{len(data)} bytes, {data[:12]!r}",
            expected="a complete JPEG, PNG or WebP file",
            do="save or copy the picture again",
        )
    raw = np.frombuffer(data, np.uint8)
    colours = cv2.imdecode(raw, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH)
    if colours is None:
        raise ClipError(
            f"{path.name} cannot be decoded",
            given=f"{head.format}, {head.width} x {head.height}",
            expected="a picture that OpenCV can decode",
            do="save it again as PNG",
        )
    pixels = _eight_bits(np.asarray(colours))
    alpha = None if head.format == "JPEG" else _alpha(raw, pixels)
    return pixels if alpha is None else over_white(pixels, alpha)


def encode_picture(pixels: NDArray[np.uint8], suffix: str) -> bytes:
    """RGB pixels as the bytes of a PNG or JPEG (quality 95, full colour resolution so that lines stay clean)."""
    import cv2

    options = []
    if suffix.lower() in (".jpg", ".jpeg"):
        full = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, full]
    done, data = cv2.imencode(suffix.lower(), pixels[..., ::-1], options)
    assert done, f"encoding to {suffix} failed"
    return data.tobytes()


def over_white(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours (height, width, 3) of the given opacity (height, width), 0 to 255, laid over white paper."""
    share = alpha[..., None].astype(np.uint32)
    return ((pixels * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)


def _eight_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    if values.dtype == np.uint16:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    assert values.dtype == np.uint8, values.dtype  # the three formats know no other depth
    return values.astype(np.uint8, copy=False)


def _alpha(raw: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The opacity of a PNG or WebP, turned as ``pixels`` already is; None when it is opaque.

    OpenCV applies EXIF rotation only where it drops the opacity, so the turn is found again by the colours.
    """
    import cv2

    stored = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)
    if stored is None or stored.ndim != 3 or stored.shape[2] != 4:
        return None
    plain = _eight_bits(np.asarray(stored))
    colours = plain[..., 2::-1]
    for transpose, mirror_x, mirror_y in itertools.product((False, True), repeat=3):
        turn = Turn(transpose=transpose, mirror_x=mirror_x, mirror_y=mirror_y)
        if np.array_equal(turn.apply(colours), pixels):
            return turn.apply(plain[..., 3])
    raise AssertionError("two readings of one picture differ in more than a turn")


def _jpeg_head(data: bytes) -> Head | None:
    at, size = 2, None
    while at < len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 0x01:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in FRAMES_OF_JPEG:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            size = (width, height)
        if marker == 0xDA and size:  # the scan begins: what is left is the picture, closed by the end marker
            whole = data.rfind(b"\xff\xd9") > at
            return Head(format="JPEG", width=size[0], height=size[1], whole=whole, moving=False)
        at += 2 + int(struct.unpack(">H", data[at + 2 : at + 4])[0])
    return Head(format="JPEG", width=size[0], height=size[1], whole=False, moving=False) if size else None


def _webp_head(data: bytes) -> Head | None:
    whole = len(data) >= 8 + int(struct.unpack("<I", data[4:8])[0])
    kind, moving = data[12:16], False
    if kind == b"VP8X":
        moving = bool(data[20] & 0x02)
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (value & 0x3FFF for value in struct.unpack("<HH", data[26:30]))
    else:
        return None
    return Head(format="WebP", width=width, height=height, whole=whole, moving=moving)
