"""A text that travels inside a video or a picture: its comment, written with it and read again. Knows no meaning."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from sakuga.video.pictures import HEAD_BYTES, is_picture, picture_bytes

KEYWORD = b"Comment"  # a PNG's own word for it
PNG_HEAD = 8
LONGEST = 60_000  # bytes: more does not fit into a MOV or a JPEG


def with_comment(data: bytes, text: str) -> bytes:
    """The bytes of a PNG or JPEG with ``text`` in them, in front of the pixels, which stay as they are."""
    if not text:
        return data
    said = text.encode()
    assert len(said) <= LONGEST, len(said)
    if data.startswith(b"\x89PNG"):
        body = b"iTXt" + KEYWORD + b"\0\0\0\0\0" + said  # not compressed, no language, no translation
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        after = PNG_HEAD + 25  # the header chunk comes first
        return data[:after] + chunk + data[after:]
    return data[:2] + b"\xff\xfe" + struct.pack(">H", len(said) + 2) + said + data[2:]


def comment_of(path: Path) -> str | None:
    """The comment of a video, PNG or JPEG; None where there is none. Raises ``ClipError`` for what cannot be read."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if is_picture(head):
        return _of_picture(picture_bytes(path))
    from sakuga.video.read import container_comment

    return container_comment(path)


def _of_picture(data: bytes) -> str | None:
    if data.startswith(b"\x89PNG"):
        at = PNG_HEAD
        while at + 12 <= len(data):
            (length,) = struct.unpack(">I", data[at : at + 4])
            kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
            if kind == b"iTXt" and body.startswith(KEYWORD + b"\0\0\0"):
                return body[len(KEYWORD) + 5 :].decode(errors="replace")
            at += 12 + length
        return None
    if data.startswith(b"\xff\xd8\xff\xfe"):
        (length,) = struct.unpack(">H", data[4:6])
        return data[6 : 4 + length].decode(errors="replace")
    return None
