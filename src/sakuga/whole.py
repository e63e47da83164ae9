"""An output that appears whole or not at all: it is written under a hidden name beside its place.

Nothing outside that hidden name is touched before everything is written and on the disk. A folder that gives way is
moved aside and removed last: where a run is killed in between, the next one puts it back. Refuses to write over
anything but what it was allowed to, and over a folder only if nothing is in it but what its writer calls its own.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sakuga.errors import OutputError, OutputExists

PARTIAL, ASIDE = ".partial", ".old"
LONGEST = 255  # bytes of a name in the usual file systems
NAME_BYTES, MACHINE_BYTES = 150, 40  # that the hidden name repeats
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))
NO_RIGHT = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))
Ours = Callable[[str], object]  # whether a file of this name ("unet/a") is one that the same kind of output consists of


@dataclass(kw_only=True)
class Appearing:
    """What is being written: the ``hidden`` path, and the ``final`` one, which may still be changed.

    ``notes`` names what was found of earlier runs that were killed, and what became of it.
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
    begin = f".{name}{_machine()}"
    hidden, aside = (final.with_name(f"{begin}{os.getpid()}{end}") for end in (PARTIAL, ASIDE))
    notes = _restored(final, begin)
    if notes:
        check_place(final, overwrite=overwrite, ours=ours)
    left = _dead(final.parent, begin, (PARTIAL, ASIDE))
    for path in left:
        remove(path)
    notes += [f"{path.name}, which a run that was killed had left, is removed" for path in left]
    appearing = Appearing(hidden=hidden, final=final, notes=tuple(notes))
    try:
        yield appearing
        final = appearing.final
        with writing(final):
            for file in hidden.rglob("*") if hidden.is_dir() else (hidden,):
                if file.is_file():
                    _to_disk(file)
            check_place(final, overwrite=overwrite, ours=ours)
            _take_place(hidden, final, aside)
    finally:
        remove(hidden)


def without_left_over(folder: Path) -> list[Path]:
    """Remove what runs of this machine that were killed had half-written into a folder, and return what it was.

    What they had moved aside stays: it may be all there is, and the next run to that name sees to it.
    """
    begins = {path.name.rpartition("-")[0] + "-" for path in folder.glob(f".*{PARTIAL}")}
    left = [path for begin in sorted(begins) if begin.endswith(_machine()) for path in _dead(folder, begin, (PARTIAL,))]
    for path in left:
        remove(path)
    return left


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
    if len(os.fsencode(final.name)) > LONGEST:
        raise OutputError(
            "the name of the output is too long",
            given=f"{final.name[:40]}…, {len(os.fsencode(final.name))} bytes",
            expected=f"at most {LONGEST} bytes",
            do="choose a shorter one",
        )
    folder = final.parent
    if not folder.is_dir():
        a_file = os.path.exists(folder)
        raise OutputError(
            f"{folder} is a file" if a_file else f"there is no folder {folder}",
            given=str(final),
            expected="a name in a folder that is there",
            do="choose another folder" if a_file else f"make it first (mkdir -p {folder}), or choose another",
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
        strange = next((name for name in _files(final) if ours is None or not ours(name)), None)
        if ours is None or strange is not None:
            inside = f", with {strange} in it" if strange is not None else ""
            raise OutputError(
                f"{final.name} is a folder that is not ours to replace",
                given=f"{final}{inside}",
                expected="a name that is free",
                do="choose another name",
            )
        if not os.listdir(final):
            return
    if not overwrite:
        raise OutputExists(
            f"{final.name} is there already", given=str(final), do="choose another name, or allow it with --overwrite"
        )


@contextmanager
def writing(final: Path, *, needed: int | None = None) -> Iterator[None]:
    """Turn what the system says about writing ``final`` into an ``OutputError``. ``needed``: its bytes, if known."""
    try:
        yield
    except OSError as error:
        raise not_written(final, error.errno, error.strerror or str(error), needed=needed) from error


def not_written(final: Path, number: int | None, reason: str, *, needed: int | None = None) -> OutputError:
    """The error for an output that could not be written, from the system's error number."""
    expected = None
    if number in NO_ROOM:
        title, do = "there is no room", "make room on the disk, or choose a folder on another one"
        free = _free(final if final.is_dir() else final.parent)
        expected = f"{_megabytes(needed)} of room" if needed is not None else "more room than there is"
        expected += f"; {_megabytes(free)} are free now" if free is not None else ""
    elif number == errno.EFBIG:
        title = "there is no room for a file of that size"
        do = "choose a folder on another disk, or raise the limit (ulimit -f)"
        expected = f"a file of {_megabytes(needed)}" if needed is not None else None
    elif number in NO_RIGHT:
        title, do = "there is no right to write there", "choose another folder, or change the rights of this one"
    else:
        title, do = "it could not be written", "try another folder"
    return OutputError(
        f"{final.name}: {title}",
        given=f"{final} ({reason})",
        expected=expected,
        do=f"{do}; nothing half-written is left",
    )


def _free(folder: Path) -> int | None:
    """The bytes that are free on the disk of a folder; None where the system does not say."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


def _files(folder: Path) -> Iterator[str]:
    """The names of all files below a folder, as seen from there."""
    for here, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(here, name))]
        folders.sort()
        yield from (Path(here, name).relative_to(folder).as_posix() for name in sorted([*files, *links]))


def _take_place(hidden: Path, final: Path, aside: Path) -> None:
    """Put what is written in the place of ``final``; a folder that is there is removed last."""
    if not final.is_dir():
        hidden.replace(final)
        return
    final.replace(aside)
    try:
        hidden.replace(final)
    except BaseException:
        aside.replace(final)
        raise
    remove(aside)


def _restored(final: Path, begin: str) -> list[str]:
    """Put back the folder that a run moved aside and was killed before anything took its place. Returns what to say."""
    if os.path.lexists(final):
        return []
    for aside in _dead(final.parent, begin, (ASIDE,)):
        with writing(final):
            aside.replace(final)
        return [f"{final.name} is put back, which a run that was killed had moved aside"]
    return []


def _machine() -> str:
    """What stands before the number of the process in a hidden name."""
    return f".{re.sub(r'[^A-Za-z0-9-]', '-', platform.node())[:MACHINE_BYTES]}-"


def _dead(folder: Path, begin: str, ends: Sequence[str]) -> list[Path]:
    """The hidden files of this beginning whose processes, all of this machine, are dead.

    One with the number of this very process is of a dead one too: in a container numbers come again.
    """
    found = []
    with suppress(OSError):  # a folder or a file that is not ours to look into: what lies there is in nobody's way
        for path in sorted(folder.iterdir()):
            process = path.name.removeprefix(begin).removesuffix(path.suffix)
            named = path.suffix in ends and path.name == f"{begin}{process}{path.suffix}"
            if named and process.isdecimal() and (int(process) == os.getpid() or not lives(int(process))):
                found.append(path)
    return found


def lives(process: int) -> bool:
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


def remove(path: Path) -> None:
    """Remove a file, or a folder with all in it."""
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
