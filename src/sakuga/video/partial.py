"""An output that appears whole or not at all: it is written under a hidden name beside its place.

Nothing outside that hidden name is touched before everything is written and on the disk. Refuses to write over
anything but what it was allowed to, and over a folder only if nothing but numbered pictures are in it.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sakuga.errors import OutputError, OutputExists

NUMBERED_PICTURE = re.compile(r"\d+\.png")
PARTIAL = ".partial"
NAME_BYTES, MACHINE_BYTES = 150, 40  # that the hidden name repeats: file systems allow 255 bytes in all
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
NO_RIGHT = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))


@dataclass(kw_only=True)
class Appearing:
    """What is being written: the ``hidden`` path, and the ``final`` one, which may still be changed.

    ``notes`` names what was found of earlier runs that were killed, and removed.
    """

    hidden: Path
    final: Path
    notes: tuple[str, ...] = ()


@contextmanager
def appearing_whole(final: Path, *, overwrite: bool) -> Iterator[Appearing]:
    """A block that writes a file or a folder to the hidden path it gets.

    At its end that takes the place of ``final`` in one step; if an error came, nothing is left. Raises ``OutputError``.
    """
    # machine and process are in the name, so that two runs do not write into one file, and the dead can be told
    name = os.fsencode(final.name)[:NAME_BYTES].decode(errors="ignore")
    begin = f".{name}.{re.sub(r'[^A-Za-z0-9-]', '-', platform.node())[:MACHINE_BYTES]}-"
    hidden = final.with_name(f"{begin}{os.getpid()}{PARTIAL}")
    notes = (f"{left}, which a run that was killed had left, is removed" for left in _clear(final.parent, begin))
    appearing = Appearing(hidden=hidden, final=final, notes=tuple(notes))
    try:
        yield appearing
        final = appearing.final
        with writing(final):
            for file in hidden.iterdir() if hidden.is_dir() else (hidden,):
                _to_disk(file)
            check_place(final, overwrite=overwrite)
            if final.is_dir():
                shutil.rmtree(final)
            hidden.replace(final)
    finally:
        _remove(hidden)


def check_place(final: Path, *, overwrite: bool) -> None:
    """Raise ``OutputError`` or ``OutputExists`` if ``final`` cannot or may not be written. Creates nothing."""
    folder = final.parent
    if not folder.is_dir():
        raise OutputError(
            f"there is no folder {folder}",
            given=str(final),
            expected="a name in a folder that is there",
            do=f"make it first (mkdir -p {folder}), or choose another",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(
            f"the folder {folder} cannot be written to",
            given=str(final),
            expected="a folder with the right to write",
            do="choose another folder",
        )
    if not final.exists() and not final.is_symlink():
        return
    if final.is_dir():
        strangers = [file.name for file in final.iterdir() if not NUMBERED_PICTURE.fullmatch(file.name)]
        if final.suffix or strangers:
            inside = f", with {strangers[0]} in it" if strangers else ""
            raise OutputError(
                f"{final.name} is a folder that is not ours to replace",
                given=f"{final}{inside}",
                expected="a name that is free, or a folder of nothing but numbered pictures",
                do="choose another name",
            )
        if not any(final.iterdir()):
            return
    if not overwrite:
        raise OutputExists(
            f"{final.name} is there already", given=str(final), do="choose another name, or allow it with --overwrite"
        )


@contextmanager
def writing(final: Path) -> Iterator[None]:
    """Turn what the system says about writing ``final`` into an ``OutputError``."""
    try:
        yield
    except OSError as error:
        raise not_written(final, error.errno, error.strerror or str(error)) from error


def not_written(final: Path, number: int | None, reason: str) -> OutputError:
    """The error for an output that could not be written, from the system's error number."""
    if number in NO_ROOM:
        title, do = "there is no room", "make room on the disk, or choose a folder on another one"
    elif number in NO_RIGHT:
        title, do = "there is no right to write there", "choose another folder, or change the rights of this one"
    else:
        title, do = "it could not be written", "try another folder or another kind of output"
    return OutputError(f"{final.name}: {title}", given=f"{final} ({reason})", do=f"{do}; nothing half-written is left")


def _clear(folder: Path, begin: str) -> tuple[str, ...]:
    """Remove the hidden files of this beginning whose processes, all of this machine, are dead. Returns their names."""
    removed = []
    with suppress(OSError):  # a folder or a file that is not ours to look into: what lies there is in nobody's way
        for path in sorted(folder.iterdir()):
            process = path.name.removeprefix(begin).removesuffix(PARTIAL)
            if path.name == f"{begin}{process}{PARTIAL}" and process.isdecimal() and not _lives(int(process)):
                _remove(path)
                removed.append(path.name)
    return tuple(removed)


def _lives(process: int) -> bool:
    """Whether a process may still be there."""
    if os.name == "nt":  # there, to ask is to interrupt
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
