"""Store: what was drawn, on disk, each Span under the key of all that went into it; and small facts about clips.

A Span appears whole or not at all, and is looked through before it is used: one that is damaged counts as not there.
Refuses to know what a key is made of (``sakuga.render.keys``) and when a Span may go (``sakuga.render.work``).
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sakuga.errors import ClipError
from sakuga.video.pictures import decode_picture, encode_picture
from sakuga.whole import appearing_whole, writing

Picture = NDArray[np.uint8]

SPAN, FACT = ".span", ".json"
STAMP = (1980, 1, 1, 0, 0, 0)  # the same frames are the same bytes, whenever they are stored


@dataclass(frozen=True, kw_only=True)
class StoredSpan:
    """A finished Span: frames RGB uint8 [H, W, 3], read one at a time."""

    path: Path
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def frames(self) -> Iterator[Picture]:
        """All frames, in order. Raises ClipError where the disk gives other bytes than it was given."""
        with zipfile.ZipFile(self.path) as file:
            for name in self.names:
                try:
                    data = file.read(name)
                except (zipfile.BadZipFile, OSError, EOFError) as error:
                    raise ClipError(
                        "a finished span cannot be read any more",
                        given=f"{self.path}: {error}",
                        expected="the bytes that were written there",
                        do="look after the disk, and run it again: what is damaged is drawn anew",
                    ) from error
                yield decode_picture(data, self.path)


@dataclass(frozen=True, kw_only=True)
class Store:
    """The Spans and facts below ``root``. Several processes may use one root at a time.

    ``reads``: whether anything that is there already is found; what is written is found again in any case.
    """

    root: Path
    reads: bool = True
    _own: set[str] = field(default_factory=set)

    def path(self, key: str) -> Path:
        """Where the Span of this key lies, or would lie."""
        return self.root / "spans" / key[:2] / f"{key}{SPAN}"

    def find(self, key: str, count: int) -> StoredSpan | None:
        """The Span of ``count`` frames under a key, if it is there and whole."""
        path = self.path(key)
        if not self.reads and key not in self._own:
            return None
        try:
            with zipfile.ZipFile(path) as file:
                names = tuple(file.namelist())
                whole = len(names) == count and file.testzip() is None
        except FileNotFoundError:
            return None
        except (OSError, zipfile.BadZipFile, ValueError, EOFError, NotImplementedError):
            whole = False
        if not whole:
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # what was used last goes last
        return StoredSpan(path=path, names=names)

    @contextmanager
    def writing(self, key: str) -> Iterator[SpanWriter]:
        """A block that stores a Span, frame by frame; it is there at the end, and nothing on an error.

        Raises ``OutputError``.
        """
        path = self.path(key)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with appearing_whole(path, overwrite=True) as appearing:
            writer = SpanWriter(path, appearing.hidden)
            try:
                yield writer
            finally:
                writer.close()
        self._own.add(key)

    def fact(self, key: str) -> Any | None:
        """What was remembered under a key; None if nothing was, or it cannot be read."""
        if not self.reads:
            return None
        try:
            return json.loads(self._fact_path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def remember(self, key: str, value: object) -> None:
        """Keep plain data under a key. Raises ``OutputError``."""
        write_whole(self._fact_path(key), json.dumps(value))

    def spans(self) -> list[tuple[Path, os.stat_result]]:
        """All Spans that are there, those used last at the end."""
        found = []
        for path in self.root.glob(f"spans/??/*{SPAN}"):
            with suppress(OSError):  # another process may have removed it
                found.append((path, path.stat()))
        return sorted(found, key=lambda one: one[1].st_mtime_ns)

    def _fact_path(self, key: str) -> Path:
        return self.root / "facts" / f"{key}{FACT}"


class SpanWriter:
    """Takes the frames of a Span; made by ``Store.writing``."""

    def __init__(self, path: Path, hidden: Path) -> None:
        self._path, self._count = path, 0
        with writing(path):
            self._file = zipfile.ZipFile(hidden, "w", zipfile.ZIP_STORED)

    def write(self, picture: Picture) -> None:
        """Add the next frame, RGB uint8 [H, W, 3]. Raises ``OutputError``."""
        entry = zipfile.ZipInfo(f"{self._count:06}.png", STAMP)
        with writing(self._path):
            self._file.writestr(entry, encode_picture(picture, ".png"))
        self._count += 1

    def close(self) -> None:
        """Write the list of frames at the end."""
        with writing(self._path):
            self._file.close()


def write_whole(path: Path, text: str) -> None:
    """Write a small text, whole or not at all, over what is there; folders are made. Raises ``OutputError``."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with appearing_whole(path, overwrite=True) as appearing, writing(path):
        appearing.hidden.write_text(text, encoding="utf-8")
