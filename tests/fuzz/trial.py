"""One trial: a file goes the whole way, from its first byte to changed weights and back, and what may come of it.

It may be refused by a SakugaError, or used with an account of every key. Whatever else happens is a finding.
"""

from __future__ import annotations

import re
import resource
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from tests.corpus.tiny import FLUX, SD, grown
from torch import Tensor, nn

from sakuga.errors import SakugaError
from sakuga.lora.adapter import Adapter
from sakuga.lora.inspect import show
from sakuga.lora.read import read_adapter
from sakuga.lora.stack import Stack
from sakuga.lora.survey import Survey, survey
from sakuga.lora.targets import names_of
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap

SECONDS = 1.0  # of the processor's time, for files of a few kilobytes
MEGABYTES = 64  # more than at the highest point before
LOOK_EVERY = 25  # cases; asking is slow on some machines
MESSAGE_CAP = 20_000  # characters
_VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\S*[\d.:/_]\S*")


class TooSlow(BaseException):
    """The time is over; not an Exception, so that nothing on the way takes it for its own."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a file. ``kind`` says it without what varies from file to file. ``fault`` empty: as it should be."""

    kind: str
    fault: str = ""


class Bench:
    """The tiny models, kept from trial to trial: a trial that leaves a bit of them changed is a finding."""

    def __init__(self) -> None:
        self.parts = {table.name: grown(table) for table in (SD, FLUX)}
        self.names: Mapping[str, NameMap] = {name: names_of(parts) for name, parts in self.parts.items()}
        self._before = {name: _flat(parts) for name, parts in self.parts.items()}
        self._trials, self._touched = 0, False
        self._peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def trial(self, path: Path, model: str, *, partial: bool, deep: bool) -> Outcome:
        """The whole way of one file. ``deep``: with what ``lora show`` tells of it."""
        self._touched = False
        outcome = self._outcome(path, model, partial=partial, deep=deep)
        if self._touched and not torch.equal(_flat(self.parts[model]), self._before[model]):
            self.parts[model] = grown(SD if model == SD.name else FLUX)
            return Outcome(kind=outcome.kind, fault="some weight is not what it was")
        self._trials += 1
        if self._trials % LOOK_EVERY == 0:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            more, self._peak = peak - self._peak, max(peak, self._peak)
            if more > MEGABYTES * 1024:
                return Outcome(kind=outcome.kind, fault=f"{more // 1024} MiB of memory in the last {LOOK_EVERY} cases")
        return outcome

    def _outcome(self, path: Path, model: str, *, partial: bool, deep: bool) -> Outcome:
        try:
            with _at_most(SECONDS):
                return self._whole_way(path, model, partial=partial, deep=deep)
        except SakugaError as error:
            return _refusal(error)
        except TooSlow:
            return Outcome(kind="slow", fault=f"more than {SECONDS} s")
        except Exception as error:
            return Outcome(kind=type(error).__name__, fault=f"{type(error).__name__}: {error}")

    def _whole_way(self, path: Path, model: str, *, partial: bool, deep: bool) -> Outcome:
        names, parts = self.names[model], self.parts[model]
        with TensorFile.open(path) as file:
            given = Counter([*file.names, *file.extras])
            found = survey(file, names)
            if _of_survey(found) != given:
                return Outcome(kind="survey", fault="the survey does not account for every key")
            if deep and _of_show(show(file, names)["keys"]) != given.total():
                return Outcome(kind="show", fault="what is shown does not account for every key")
            adapter = read_adapter(file, names, "style", allow_partial=partial)
        if _of_adapter(adapter) != given or adapter.total_keys != sum(given.values()):
            return Outcome(kind="read", fault="the adapter does not account for every key")
        self._touched = True
        with Stack([(adapter, 0.5)]).applied(parts):
            changed = not torch.equal(_flat(parts), self._before[model])
        reasons = sorted({_plain(left.reason) for left in adapter.leftovers})
        algorithms = sorted({module.algorithm for module in found.modules})
        return Outcome(kind=f"read {adapter.layout} {algorithms} {reasons} {changed}")


def _flat(parts: Mapping[str, nn.Module]) -> Tensor:
    """All weights as one tensor of bytes."""
    with torch.no_grad():
        return torch.cat([one.reshape(-1) for part in parts.values() for one in part.parameters()]).view(torch.uint8)


def _of_survey(found: Survey) -> Counter[str]:
    used = [key for module in found.modules if module.verdict == "fits" for key in module.group.keys]
    embedded = [key for keys in found.embeddings.values() for key in keys.values()]
    return Counter([*used, *embedded, *(left.key for left in found.leftovers())])


def _of_show(keys: Mapping[str, Any]) -> int:
    return int(keys["used"]) + len(keys["ignored"]) + len(keys["refused"])


def _of_adapter(adapter: Adapter) -> Counter[str]:
    """Every key once, however many patches were made of it."""
    used = {key for patch in adapter.patches for key in patch.keys}
    embedded = [key for keys in adapter.embeddings.values() for key in keys.values()]
    return Counter([*used, *embedded, *(left.key for left in adapter.leftovers)])


def _refusal(error: SakugaError) -> Outcome:
    """A refusal that says what it is, in words that can be printed."""
    told = [_plain(words or "")[:60] for words in (error.title, error.given, error.nearest)]
    kind = " ".join((type(error).__name__, *told))
    text = error.told()
    try:
        text.encode()
    except UnicodeEncodeError:
        return Outcome(kind=kind, fault=f"a message that cannot be printed: {text!a}")
    if len(text) > MESSAGE_CAP:
        return Outcome(kind=kind, fault=f"a message of {len(text)} characters: {text[:200]}")
    if any(ord(letter) < 32 and letter != "\n" for letter in text):
        return Outcome(kind=kind, fault=f"control characters in a message: {text[:500]!r}")
    return Outcome(kind=kind)


def _plain(text: str) -> str:
    return _VARYING.sub("…", text)


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Stop what takes longer, by this process' own time, however busy the machine is."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
