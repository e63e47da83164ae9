"""An output that appears whole or not at all: it is written under a hidden name beside its place.

Nothing outside that hidden name is touched before everything is written and on the disk. Refuses to write over
anything but what it was allowed to, and over a folder only if nothing is in it but what its writer calls its own.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sakuga.errors import OutputError, OutputExists

PARTIAL = ".partial"
NAME_BYTES, MACHINE_BYTES = 150, 40  # that the hidden name repeats: file systems allow 255 bytes in all
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
NO_RIGHT = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))
Ours = Callable[[str], object]  # whether a file of this name is one that the same kind of output consists of


@dataclass(kw_only=True)
class Appearing:
    """What is being written: the ``hidden`` path, and the ``final`` one, which may still be changed.

    ``notes`` names what was found of earlier runs that were killed, and removed.
    """

    hidden: Path
    final: Path
    notes: tuple[str, ...] = ()


@contextmanager
def appearing_whole(final: Path, *, overwrite: bool, ours: Ours | None = None) -> Iterator[Appearing]:
    """A block that writes a file or a folder to the hidden path it gets.

    At its end that takes the place of ``final`` in one step; if an error came, nothing is left. ``overwrite`` and
    ``ours``: see ``check_place``. Raises ``OutputError``.
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
            for file in hidden.rglob("*") if hidden.is_dir() else (hidden,):
                if file.is_file():
                    _to_disk(file)
            check_place(final, overwrite=overwrite, ours=ours)
            if final.is_dir():
                shutil.rmtree(final)
            hidden.replace(final)
    finally:
        _remove(hidden)


def check_place(final: Path, *, overwrite: bool, ours: Ours | None = None) -> None:
    """Raise ``OutputError`` or ``OutputExists`` if ``final`` cannot or may not be written. Creates nothing.

    A folder that is there gives way to another only when all in it is called as ``ours`` says, or nothing is in it;
    None: a file is to be written, and no folder gives way to it. ``overwrite`` allows to replace what is not empty.
    """
    if final.name in ("", ".."):
        raise OutputError(
            "the output has no name of its own",
            given=str(final),
            expected="a name in a folder that is there",
            do="add a name",
        )
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
        names = sorted(file.name for file in final.iterdir())
        strangers = [name for name in names if ours is None or not ours(name)]
        if ours is None or strangers:
            inside = f", with {strangers[0]} in it" if strangers else ""
            raise OutputError(
                f"{final.name} is a folder that is not ours to replace",
                given=f"{final}{inside}",
                expected="a name that is free",
                do="choose another name",
            )
        if not names:
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
        title, do = "it could not be written", "try another folder"
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
