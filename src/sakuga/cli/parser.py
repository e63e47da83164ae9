"""argparse with our manners: four-line errors with the nearest name, no abbreviations, the same help text everywhere.

Refuses to end the process by itself: a mistake is a JobError, which ``main`` prints.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from sakuga.errors import JobError, nearest_name, nearest_names

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction["Parser"]

_CHOICE = re.compile(r"invalid choice: '(?P<given>.*?)' \(choose from (?P<known>.*)\)", re.DOTALL)
_SURPLUS = re.compile(r"ignored explicit argument '(?P<given>.*)'", re.DOTALL)
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
        self._words: list[str] = []
        self.gathers: str | None = None  # the place of many words, which takes those behind options too
        for action in (None, "store"):
            self.register("action", action, _Once)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse does, and keeps the words, so that a missing one does not hide a wrong one."""
        self._words = list(sys.argv[1:] if args is None else args)
        found, extra = super().parse_known_args(args, namespace)
        if self.gathers is not None:
            getattr(found, self.gathers).extend(word for word in extra if not word.startswith("-"))
            extra = [word for word in extra if word.startswith("-")]
        return found, extra

    def error(self, message: str) -> NoReturn:
        """Raise what argparse says as a JobError."""
        about, colon, said = message.removeprefix("argument ").partition(": ")
        given = about if colon and message.startswith("argument ") else None
        if choice := _CHOICE.search(message):
            self._refuse_choice(about, choice["given"], [name.strip(" '") for name in choice["known"].split(",")])
        if surplus := _SURPLUS.fullmatch(said):
            raise JobError(
                f"{about} takes no value",
                given=f"{about}={surplus['given']}",
                expected=f"{about} alone",
                do=f"leave out ={surplus['given']}",
            )
        if "required" in message and (unknown := self._unknown_options()):
            self.refuse(unknown)
        raise JobError(message, given=given, expected=self._usage_line(), do=f"{self.prog} --help")

    def _refuse_choice(self, about: str, given: str, known: Sequence[str]) -> NoReturn:
        """Raise the JobError for a word that is none of those that may stand there: a command, or an option's value."""
        option = about.startswith("-")
        raise JobError(
            f"{about} cannot be {given!r}" if option else f"there is no command {given!r}",
            given=f"{about} {given}" if option else f"{self.prog} {given}",
            expected="one of " + ", ".join(known),
            nearest=nearest_name(given, known),
            do=f"{self.prog} --help",
        )

    def _unknown_options(self) -> list[str]:
        """The words of the command line that look like options and are none."""
        words = self._words[: self._words.index("--")] if "--" in self._words else self._words
        named = {word: word.partition("=")[0] if word.startswith("--") else word[:2] for word in words}
        return [word for word in words if _OPTION.match(word) and named[word] not in self._option_string_actions]

    def refuse(self, extra: Sequence[str]) -> NoReturn:
        """Raise the JobError for words that no option or place took."""
        word = next((word for word in extra if word.startswith("-")), extra[0])
        if not word.startswith("-"):
            raise JobError("a word too many", given=word, expected=self._usage_line(), do=f"{self.prog} --help")
        name = word.partition("=")[0]
        known = sorted(set(_OPTION.findall(self.format_help())))
        near = [option for option in known if option.startswith(name)] or nearest_names(name, known)
        raise JobError(
            f"there is no option {name}",
            given=word,
            expected="an option of this command",
            nearest=", ".join(near) or None,
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
