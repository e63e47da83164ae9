"""What a prompt says beside its words: ``<lora:…>`` tags and A1111's emphasis. Pure; knows no tokens.

Refuses to drop anything: tags that are not ours stay in the text, and ``tags_left`` names them for the report.
"""

from __future__ import annotations

import re

from sakuga.errors import JobError
from sakuga.spec.uses import LoraUse

STEP = 1.1  # what one pair of brackets multiplies (round) or divides (square) the attention by
LIMIT = 20.0  # stronger than this a word is noise
DEEPEST = 64  # open brackets; far beyond LIMIT already

_TAG = re.compile(r"<(?:lora|lyco):((?:->|[^<>])*)>")
_ALMOST = re.compile(r"<\s*(?:lora|lyco)\b[^<>]*>?|\b(?:lora|lyco):[^\s<>]+>", re.IGNORECASE)
_ANY_TAG = re.compile(r"<[A-Za-z_]\w*:[^<>]*>")
_STATED = re.compile(r":\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))\s*$")
_NAMED = re.compile(r"(te|unet|[a-z]+)\s*=(.*)")


def split_prompt(prompt: str) -> tuple[str, tuple[LoraUse, ...]]:
    """The prompt without its ``<lora:…>`` tags, and the adapters they ask for. Raises JobError for a broken tag.

    ``<lora:NAME:WEIGHT>``, ``<lora:NAME:TE:UNET>``, ``<lora:NAME:te=…:unet=…>``; ``<lyco:…>`` means the same.

    >>> split_prompt("a cat <lora:ink:0.8>")[0]
    'a cat'
    """
    uses = tuple(_tag_use(match[1]) for match in _TAG.finditer(prompt))
    words = _TAG.sub("", prompt)
    broken = _ALMOST.search(words)
    if broken:
        raise JobError(
            "this is nearly a tag of an adapter, and would be words to the model",
            given=broken[0][:60],
            expected="<lora:NAME:WEIGHT>, such as <lora:ink:0.8>",
            do="write it so, or leave out its < and >",
        )
    return (words.strip() if uses else prompt), uses


def tags_left(text: str) -> tuple[str, ...]:
    """The ``<…:…>`` tags that are still in a text: no tool here reads them, so they are words to the model."""
    return tuple(_ANY_TAG.findall(text))


def parse_emphasis(text: str) -> tuple[tuple[str, float], ...]:
    r"""Pieces of text with the strength of attention that brackets give them; neighbours of one strength are joined.

    ``(w)`` times 1.1, ``[w]`` divided by 1.1, ``(w:1.2)`` times 1.2, nested ones multiply, ``\(`` is a plain bracket;
    a bracket that is never closed reaches to the end. Raises JobError beyond a strength of 20 or 64 open brackets.
    Source of the semantics: the "Attention/emphasis" page of the AUTOMATIC1111 web UI's wiki.

    >>> parse_emphasis("a (red:1.5) cat")
    (('a ', 1.0), ('red', 1.5), (' cat', 1.0))
    """
    reading = _Emphasis()
    position = 0
    while position < len(text):
        letter = text[position]
        if letter == "\\" and text[position + 1 : position + 2] in tuple("()[]\\"):
            reading.word += text[position + 1]
            position += 1
        elif letter in "([":
            reading.open(letter)
        elif (letter == ")" and reading.round) or (letter == "]" and reading.square):
            reading.close(letter)
        else:
            reading.word += letter
        position += 1
    return reading.finish()


class _Emphasis:
    """The state of one reading: finished pieces, the word under way, and where brackets were opened."""

    def __init__(self) -> None:
        self.pieces: list[tuple[str, float]] = []
        self.word = ""
        self.round: list[int] = []
        self.square: list[int] = []

    def open(self, bracket: str) -> None:
        self._end_word()
        (self.round if bracket == "(" else self.square).append(len(self.pieces))
        if len(self.round) + len(self.square) > DEEPEST:
            raise JobError("a prompt has too many open brackets", expected=f"at most {DEEPEST}", do=_ESCAPE)

    def close(self, bracket: str) -> None:
        factor = STEP if bracket == ")" else 1 / STEP
        if bracket == ")" and (stated := _STATED.search(self.word)):
            factor = float(stated[1])
            self.word = self.word[: stated.start()]
        self._end_word()
        self._multiply((self.round if bracket == ")" else self.square).pop(), factor)

    def finish(self) -> tuple[tuple[str, float], ...]:
        self._end_word()
        for start in self.round:
            self._multiply(start, STEP)
        for start in self.square:
            self._multiply(start, 1 / STEP)
        joined: list[tuple[str, float]] = []
        for text, strength in self.pieces:
            if abs(strength) > LIMIT:
                given = f"{strength:.3g} for {text.strip()[:40]!r}"
                raise JobError("a prompt stresses a word too strongly", given=given, expected="at most 20", do=_ESCAPE)
            if joined and joined[-1][1] == strength:
                joined[-1] = (joined[-1][0] + text, strength)
            else:
                joined.append((text, strength))
        return tuple(joined) or (("", 1.0),)

    def _end_word(self) -> None:
        if self.word:
            self.pieces.append((self.word, 1.0))
            self.word = ""

    def _multiply(self, start: int, factor: float) -> None:
        self.pieces[start:] = [(text, strength * factor) for text, strength in self.pieces[start:]]


_ESCAPE = r"write \( and \[ where a bracket is meant as a letter"


def _tag_use(body: str) -> LoraUse:
    """The adapter of one tag, from what stands behind ``lora:``."""
    try:
        return LoraUse.parse(body)
    except JobError as error:
        error.given = f"<lora:{body[:60]}>"
        raise
