"""Mistaken: what a file that was taken for tensors really is, told from its first bytes, with what to do about it.

Looks at no more than those and decides nothing for sound files: it is asked where nothing else knows the container.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sakuga.errors import UnreadableFile

PEEK_BYTES = 4096
SHOWN = 60  # characters of a text
MEMBERS = 3  # of an archive that an error lists
_TITLE = re.compile(r"<title[^>]*>\s*([^<]{1,200}?)\s*</title", re.IGNORECASE)
_ASK_AGAIN = "see the page that it came from for the file itself, and fetch that"
_UNPACK = "unpack it and give the file of tensors that is inside"
_REFUSED = "the download was probably refused: sign in where it came from, or give the access key, and fetch it again"
# First bytes → what such a file is, and what to do.
_SIGNS: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS", "run git lfs pull, or download the file itself"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "a PNG picture", _ASK_AGAIN),
    (re.compile(rb"\xff\xd8\xff"), "a JPEG picture", _ASK_AGAIN),
    (re.compile(rb"GIF8[79]a"), "a GIF picture", _ASK_AGAIN),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "a WebP picture", _ASK_AGAIN),
    (re.compile(rb"....ftyp", re.DOTALL), "a video or picture in an MP4 container", _ASK_AGAIN),
    (re.compile(rb"%PDF-"), "a PDF document", _ASK_AGAIN),
    (re.compile(rb"GGUF"), "a GGUF model, whose numbers are quantised", "fetch the .safetensors form of it"),
    (re.compile(rb"Rar!\x1a\x07"), "a RAR archive", _UNPACK),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "a 7-Zip archive", _UNPACK),
    (re.compile(rb"\x1f\x8b"), "a gzip archive", _UNPACK),
    (re.compile(rb"\xfd7zXZ\0|\x28\xb5\x2f\xfd"), "a packed file (xz or zstd)", _UNPACK),
)


def is_mistaken(first: bytes) -> bool:
    """Whether these first bytes are those of something that is certainly no file of tensors."""
    return any(pattern.match(first) for pattern, _, _ in _SIGNS)


def mistaken(path: Path) -> UnreadableFile:
    """The error for a file of no known container: what it is, as far as its beginning tells."""
    with path.open("rb") as stream:
        first = stream.read(PEEK_BYTES)
    what, given, do = _known(first)
    return UnreadableFile(
        f"{path.name} is {what}" if what else f"{path.name} is not a file of tensors",
        given=given,
        expected="a .safetensors file, or a checkpoint written by torch.save",
        do=do,
    )


def mistaken_zip(path: Path, members: Sequence[str]) -> UnreadableFile:
    """The error for a zip without the pickle of a checkpoint in it. ``members``: the names of what is inside."""
    more = [f"{len(members) - MEMBERS} more"] if len(members) > MEMBERS else []
    listed = ", ".join([*(name[:SHOWN] for name in members[:MEMBERS]), *more])
    return UnreadableFile(
        f"{path.name} is a zip archive, not a file of tensors",
        given=f"inside: {listed or 'nothing'}",
        expected="a .safetensors file, or a checkpoint written by torch.save (which has one data.pkl inside)",
        do=_UNPACK,
    )


def _known(first: bytes) -> tuple[str, str, str]:
    """(what it is or empty, what is given, what to do)."""
    for pattern, what, do in _SIGNS:
        if pattern.match(first):
            return f"{what}, not a file of tensors", f"a file that begins with {first[:8].hex(' ')}", do
    text = first.decode("utf-8", "ignore").lstrip("\ufeff \t\r\n")
    title = _TITLE.search(text)
    if text[:1] == "<":
        page = f"the title {title[1]!r}" if title else _start(text)
        return "a web page, not a file of tensors", f"a page with {page}", _REFUSED
    if not text or not all(letter.isprintable() or letter.isspace() for letter in text):
        return "", f"unknown bytes: {first[:16].hex(' ')}", "fetch the file again, and see that it is the model itself"
    given = _start(text)
    if text[:1] in "{[" and re.search(r'"(error|errors|message|detail|statusCode)"', text):
        return "the answer of a server in JSON, not a file of tensors", given, _REFUSED
    if text[:1] in "{[":
        return "a JSON text, not a file of tensors", given, "give the file of tensors that it belongs to"
    return "a text, not a file of tensors", given, "check that the download is the model itself and not its page"


def _start(text: str) -> str:
    return f"the text {text[:SHOWN]!r}{'…' if len(text) > SHOWN else ''}"
