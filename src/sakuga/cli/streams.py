"""stdout and stderr as they may be: closed from the beginning, on a full disk, or with a reader that has gone.

stderr is for people: what it cannot take is dropped, and the work goes on. stdout holds the result: what it cannot take
is an error. Knows no command.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import TextIO, cast

from sakuga.errors import OutputError


@contextmanager
def steady_streams() -> Iterator[None]:
    """Inside, there are stdout and stderr, they take every letter, and nothing that is told on stderr can fail."""
    for number, name in enumerate(("stdout", "stderr"), start=1):
        if getattr(sys, name) is None:
            # or else the next file that is opened, perhaps the output, gets this number and what libraries print there
            null = os.open(os.devnull, os.O_WRONLY)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, os.fdopen(number, "w") if name == "stderr" else _Closed())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without our letters shows a question mark
    with redirect_stderr(cast("TextIO", _Dropping(sys.stderr))):
        yield
        sys.stderr.flush()


def write_result(text: str) -> bool:
    """``text`` to stdout, all of it; False if its reader, say ``head``, has had enough. Raises OutputError."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()  # here and not at the end of the process, so that it is noticed
        return True
    except OSError as error:
        _let_go(sys.stdout)
        if isinstance(error, BrokenPipeError):
            return False
        raise OutputError(
            "what there is to say cannot be written to stdout",
            given=error.strerror or str(error),
            expected="a stdout with room",
            do="send it elsewhere; a file that was rendered is whole, with its report beside it",
        ) from error


class _Closed(io.TextIOBase):
    """A stdout that was closed from the beginning: the result is lost, which must not go unnoticed."""

    def write(self, text: str) -> int:
        """Raises OSError for anything that there is to write."""
        if text:
            raise OSError(errno.EBADF, "stdout is closed")
        return 0


class _Dropping:
    """A stream that takes all and shows what it can; after the first failure it shows nothing any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False

    def write(self, text: str) -> int:
        try:
            return len(text) if self._gone else self._stream.write(text)
        except OSError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            if not self._gone:
                self._stream.flush()
        except OSError:
            self._drop()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def _drop(self) -> None:
        self._gone = True
        _let_go(self._stream)


def _let_go(stream: TextIO) -> None:
    """Send what is still in the buffer of ``stream`` nowhere, so that the end of the process does not fail at it."""
    with suppress(OSError):  # a stream without a descriptor has no such end
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)
