"""Where the members of a checkpoint's zip lie in the file, checked: torch stores them side by side and uncompressed.

Refused are zips that torch does not write and that cost or fool a reader: compressed or encrypted members, names that
lead out of the folder, a name twice, more content than the file has bytes, TorchScript archives, big-endian machines.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath

from sakuga.tensors.entry import Block
from sakuga.tensors.mistaken import mistaken_zip
from sakuga.tensors.pickle_allowed import Refused

MEMBER_CAP = 200_000
PICKLE_CAP_BYTES = 256 * 2**20
_LOCAL_HEADER = struct.Struct("<4s22xHH")


@dataclass(frozen=True, kw_only=True)
class ZipSpans:
    """The bytes of the pickle and of each storage by its key, with their checksums."""

    pickle: Block
    storages: Mapping[str, Block]


def read_spans(path: Path) -> ZipSpans:
    """The spans of the checkpoint at ``path``. Raises Refused, and UnreadableFile for a zip that is no checkpoint."""
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            root = _root(path, members)
            _check(members, path.stat().st_size)
            spans = {member.filename: _span(stream, member, path.stat().st_size) for member in members}
            order = spans.get(f"{root}/byteorder", Block(start=0, stop=0))
            stream.seek(order.start)
            if stream.read(min(order.stop - order.start, 16)) not in (b"", b"little"):
                raise Refused("it was written by a big-endian machine")
    except (zipfile.BadZipFile, NotImplementedError, struct.error, UnicodeDecodeError, OSError) as error:
        raise Refused(f"its zip container is broken: {error}") from None
    folder = f"{root}/data/"
    storages = {name.removeprefix(folder): span for name, span in spans.items() if name.startswith(folder)}
    return ZipSpans(pickle=spans[f"{root}/data.pkl"], storages=storages)


def _check(members: list[zipfile.ZipInfo], size_bytes: int) -> None:
    if len(members) > MEMBER_CAP:
        raise Refused(f"{len(members)} members, more than the {MEMBER_CAP} that are allowed")
    if len({member.filename for member in members}) < len(members):
        raise Refused("it has a member twice")
    if sum(member.file_size for member in members) > size_bytes:
        raise Refused("its members claim more bytes than the file has")
    for member in members:
        name = PurePosixPath(member.filename)
        if name.is_absolute() or ".." in name.parts or "\\" in member.filename or ":" in "".join(name.parts[:1]):
            raise Refused(f"a member leads out of the folder: {member.filename!r}")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise Refused(f"the member {member.filename!r} is compressed, which torch never does")
        if member.flag_bits & 0x1:
            raise Refused(f"the member {member.filename!r} is encrypted")


def _root(path: Path, members: list[zipfile.ZipInfo]) -> str:
    names = {member.filename for member in members}
    roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise mistaken_zip(path, [member.filename for member in members])
    if any(name.startswith(f"{roots[0]}/code/") for name in names):
        raise Refused("it is a TorchScript program, not a file of tensors")
    return roots[0]


def _span(stream: BufferedReader, member: zipfile.ZipInfo, size_bytes: int) -> Block:
    stream.seek(member.header_offset)
    signature, name_length, extra_length = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
    start = member.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    stop = start + member.file_size
    if signature != b"PK\x03\x04" or stop > size_bytes:
        raise Refused(f"the member {member.filename!r} is not where the zip says")
    if member.filename.endswith("/data.pkl") and member.file_size > PICKLE_CAP_BYTES:
        raise Refused(f"a pickle of {member.file_size} bytes")
    return Block(start=start, stop=stop, crc32=member.CRC)
