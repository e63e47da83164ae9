"""argparse with our manners: four-line errors with the nearest name, no abbreviations, the same help text everywhere.

Refuses to end the process by itself: a mistake is a JobError, which ``main`` prints.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sakuga.errors import JobError, nearest_name

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction["Parser"]

_CHOICE = re.compile(r"invalid choice: '(?P<given>.*?)' \(choose from (?P<known>.*)\)", re.DOTALL)
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


class Parser(argparse.ArgumentParser):
    """A parser for one command; ``usage`` is written out, because thirty options in brackets help nobody."""

    def __init__(self, prog: str, *, usage: str | None = None, description: str | None = None, help: str = "") -> None:
        super().__init__(
            prog=prog,
            usage=usage and f"{prog} {usage}",
            description=description,
            formatter_class=_Help,
            allow_abbrev=False,
        )
        for action in (None, "store"):
            self.register("action", action, _Once)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse says as a JobError."""
        if choice := _CHOICE.search(message):
            known = [name.strip(" '") for name in choice["known"].split(",")]
            raise JobError(
                f"there is no command {choice['given']!r}",
                given=f"{self.prog} {choice['given']}",
                expected="one of " + ", ".join(known),
                nearest=nearest_name(choice["given"], known),
                do=f"{self.prog} --help",
            )
        about, colon, _ = message.removeprefix("argument ").partition(": ")
        given = about if colon and message.startswith("argument ") else None
        raise JobError(message, given=given, expected=self._usage_line(), do=f"{self.prog} --help")

    def refuse(self, extra: Sequence[str]) -> NoReturn:
        """Raise the JobError for words that no option or place took."""
        word = next((word for word in extra if word.startswith("-")), extra[0])
        if not word.startswith("-"):
            raise JobError("a word too many", given=word, expected=self._usage_line(), do=f"{self.prog} --help")
        name = word.partition("=")[0]
        known = sorted(set(_OPTION.findall(self.format_help())))
        near = nearest_name(name, known)
        raise JobError(
            f"there is no option {name}",
            given=word,
            expected="an option of this command",
            nearest=near,
            do=f"{self.prog} --help",
        )

    def _usage_line(self) -> str:
        return self.format_usage().removeprefix("usage:").strip()


def name(text: str) -> str:
    """The value of an option that is a name or a path; argparse names the option that has an empty one."""
    if text.strip() in ("", "-"):
        raise argparse.ArgumentTypeError(f'"{text}" is neither a name nor a path')
    return text


def path(text: str) -> Path:
    """As ``name``, where a path is meant."""
    return Path(name(text)).expanduser()


class _Once(argparse.Action):
    """Keeps the value of an option; a second one that says something else is a mistake, not a correction."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        """Take a value."""
        before = getattr(namespace, self.dest, self.default)
        if before is not self.default and before != values:
            raise JobError(
                f"{option} is given twice",
                given=f"{before} and {values}",
                expected="one value",
                do="keep one of them",
            )
        setattr(namespace, self.dest, values)


class _Help(argparse.HelpFormatter):
    """Names an option's value once, behind all its spellings: ``-o, --output FILE``, on every version of Python."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        names = ", ".join(action.option_strings)
        return names if action.nargs == 0 else f"{names} {self._format_args(action, action.dest.upper())}"
