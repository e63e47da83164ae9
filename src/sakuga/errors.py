"""What can go wrong, as a tree. Every message says what was given, what was expected, what is nearest and what to do.

SakugaError
├── JobError                the job file, a flag or a value in it
│   └── OutputExists        the output is there already and may not be overwritten
├── FileProblem             a file that is missing, broken or not what it should be
│   ├── UnreadableFile      truncated, renamed, hostile or not of a known container
│   └── UnknownFile         read, but no family, role or adapter format knows its keys
├── AdapterDoesNotFit       an adapter for another family, or whose names are not in the model
├── ClipError               a clip without frames, without pictures, or that cannot be decoded
├── InUse                   another run is at work on it
├── OutputError             nothing could be written: no room, no right, no such folder
├── DeviceError             a device or number format that this machine does not have
├── Several                 more than one finding of a check, all told together
└── Stopped                 the user asked to stop; what was finished is kept
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Self


class SakugaError(Exception):
    """An error with advice. ``title`` is one sentence; the four fields are optional but never empty strings.

    Each is one line, whatever a file's name or a key brings along.

    >>> str(SakugaError("no such file", given="clp.mp4", nearest="clip.mp4"))
    'no such file\\n  given     clp.mp4\\n  nearest   clip.mp4'
    """

    def __init__(
        self,
        title: str,
        *,
        given: str | None = None,
        expected: str | None = None,
        nearest: str | None = None,
        do: str | None = None,
    ) -> None:
        self.title, self.given, self.expected, self.nearest, self.do = title, given, expected, nearest, do
        self.place: str | None = None
        super().__init__(title)

    def at(self, place: str) -> Self:
        """The same error, said to be about ``place`` (``stages.0.adapters.1``); a place that is known already stays."""
        self.place = self.place or place
        return self

    def __str__(self) -> str:
        lines = [f"{self.place}: {self.title}" if self.place else self.title]
        labels = ("given", "expected", "nearest", "do")
        lines += [f"  {label:<10}{value}" for label in labels if (value := getattr(self, label))]
        return "\n".join(map(_one_line, lines))

    def told(self) -> str:
        """The text for a terminal: the kind of error, then the four lines."""
        return f"{type(self).__name__}: {self}"

    def parts(self) -> list[dict[str, str | None]]:
        """The error as plain data, ready for JSON: a list of one, of ``Several`` one for each finding."""
        names = ("title", "place", "given", "expected", "nearest", "do")
        return [{"kind": type(self).__name__} | {name: getattr(self, name) for name in names}]


class JobError(SakugaError):
    """The job file, a flag or a value in it."""


class OutputExists(JobError):
    """The output is there already and may not be overwritten."""


class FileProblem(SakugaError):
    """A file that is missing, broken or not what it should be."""


class UnreadableFile(FileProblem):
    """Truncated, renamed, hostile or not of a known container."""


class UnknownFile(FileProblem):
    """Read, but no family, role or adapter format knows its keys."""


class AdapterDoesNotFit(SakugaError):
    """An adapter for another family, or whose names are not in the model."""


class ClipError(SakugaError):
    """A clip without frames, without pictures, or that cannot be decoded."""


class InUse(SakugaError):
    """Another run holds it."""


class OutputError(SakugaError):
    """Nothing could be written: no room, no right, no such folder."""


class DeviceError(SakugaError):
    """A device or number format that this machine does not have."""


class Several(SakugaError):
    """More than one finding of a check, all told together in ``findings``."""

    def __init__(self, findings: Sequence[SakugaError]) -> None:
        self.findings = tuple(findings)
        super().__init__(f"{len(self.findings)} problems were found")

    def __str__(self) -> str:
        return "\n".join(finding.told() for finding in self.findings)

    def told(self) -> str:
        return str(self)

    def parts(self) -> list[dict[str, str | None]]:
        return [part for finding in self.findings for part in finding.parts()]


class Stopped(SakugaError):
    """The user asked to stop; what was finished is kept."""


def raise_all(findings: Sequence[SakugaError]) -> None:
    """Raise the one finding, or all of them as ``Several``; nothing when there is none."""
    if len(findings) == 1:
        raise findings[0]
    if findings:
        raise Several(findings)


def error_of(parts: Sequence[Mapping[str, str | None]]) -> SakugaError:
    """The error that ``parts`` were made from; a kind that this version does not have becomes a SakugaError."""
    errors = list[SakugaError]()
    for part in parts:
        names = ("given", "expected", "nearest", "do")
        given, expected, nearest, do = (part.get(name) for name in names)
        made = _kind(part.get("kind"))(part.get("title") or "", given=given, expected=expected, nearest=nearest, do=do)
        made.place = part.get("place")
        errors.append(made)
    return errors[0] if len(errors) == 1 else Several(errors)


def refused(error: OSError) -> FileProblem:
    """What the system said no to, where nobody foresaw it."""
    return FileProblem(
        f"the system refuses: {error.strerror or error}",
        given=str(error.filename or "a file that it does not name"),
        expected="a file or folder that may be opened",
        do="check the path and its rights, and that there is room on the disk",
    )


def _kind(name: str | None) -> type[SakugaError]:
    kinds: list[type[SakugaError]] = [SakugaError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return next((kind for kind in kinds if kind.__name__ == name and kind is not Several), SakugaError)


def _one_line(text: str) -> str:
    """``text`` with every character that is no print (a line break or an escape in a file's name) as its escape."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def counted(count: int, noun: str) -> str:
    """How many of what.

    >>> counted(1, "frame"), counted(2, "frame")
    ('1 frame', '2 frames')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


LONG = 5  # letters of a word that is not near to another by chance


def nearest_name(given: str, known: Iterable[str]) -> str | None:
    """The known name that is spelt most like ``given``, or None when none is near."""
    return next(iter(nearest_names(given, known, most=1)), None)


def nearest_names(given: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known names that are spelt most like ``given``, the nearest first; empty when none is near."""
    plain = {name.casefold(): name for name in known}  # capitals are no reason to be far
    word = given.casefold()
    near = difflib.get_close_matches(word, plain, n=most, cutoff=0.6)  # several only where they are near enough
    if not near and len(word) >= LONG:
        near = difflib.get_close_matches(word, plain, n=1, cutoff=0.5)
    return [plain[name] for name in near]


def nearest_file(given: str, there: Iterable[str]) -> str | None:
    """Of the names in a folder the one that is called almost so, or None. Endings count only between equals: all files
    of a folder may share theirs.

    >>> nearest_file("inq.pt", ["ink.pt", "iris.pt"]), nearest_file("nope", ["opt", "usr"])
    ('ink.pt', None)
    """
    stem, ending = os.path.splitext(given)
    same_ending_last = sorted(there, key=lambda name: (os.path.splitext(name)[1] == ending, name))
    stems = {os.path.splitext(name)[0].casefold(): name for name in same_ending_last}
    near = difflib.get_close_matches(stem.casefold(), stems, n=1, cutoff=0.6)
    return stems[near[0]] if near else None
