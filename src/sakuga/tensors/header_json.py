"""The JSON of a safetensors header, taken apart member by member, so that garbage is refused before it takes memory.

A header is one object: names of tensors, each with a short object, and ``__metadata__``, whose values are text. A value
is only looked at as far as such a value may be long; what is longer is refused and never built. Refused are keys that
are there twice, at every level, because two readers could take two values for them.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeGuard

METADATA = "__metadata__"
DEPTH_CAP = 16
TENSOR_CHARACTERS = 4096  # of what is said of one tensor
VALUE_CHARACTERS = 2**20  # of a value of the metadata that is not text
METADATA_CAP = 100_000  # values
_BLANK = re.compile(r"[ \t\n\r]*")
_NUMBER = r"(?:0|[1-9]\d{0,17})"
_COMMA, _COLON = ", ?", ": ?"  # Python's own writer puts a blank behind them
# A tensor as every writer says it, with the comma or the end behind it; anything else goes the longer way.
_USUAL = re.compile(
    rf'"([^"\\\x00-\x1f]*+)"{_COLON}\{{"dtype"{_COLON}"(\w{{1,16}})"{_COMMA}'
    rf'"shape"{_COLON}\[((?:{_NUMBER}(?:{_COMMA}{_NUMBER}){{0,15}}+)?)\]{_COMMA}'
    rf'"data_offsets"{_COLON}\[({_NUMBER}){_COMMA}({_NUMBER})\]\}}'
    rf'(?:{_COMMA}(?=")|(?=\}}))',
    re.ASCII,
)
Take = Callable[[str, str, tuple[int, ...], int, int], None]  # name, number format, shape, first byte, end


class Refused(ValueError):
    """Why a header is refused; becomes an UnreadableFile with the file's name."""


def read_members(text: str, take: Take) -> Any:
    """Call ``take`` with what is said of each tensor; returns the metadata, None where there are none.

    Metadata are a dict (None for values that are not text), or whatever stands in their place. Raises Refused.
    """
    found: list[Any] = []

    def member(name: str, at: int) -> int:
        if name != METADATA:
            said, at = _short(text, at, TENSOR_CHARACTERS, "a tensor")
            take(name, *_tensor(name, said))
            return at
        if found:
            raise twice(name)
        metadata, at = _metadata(text, at)
        found.append(metadata)
        return at

    shapes: dict[str, tuple[int, ...]] = {"": ()}  # most are there many times

    def usual(at: int) -> int:
        while (match := _USUAL.match(text, at)) and match[1] != METADATA:
            name, dtype, sizes, start, stop = match.groups()
            shape = shapes.get(sizes)
            if shape is None:
                shape = shapes[sizes] = tuple(map(int, sizes.split(",")))
            take(name, sys.intern(dtype), shape, int(start), int(stop))
            at = match.end()
        return at

    start = _skip(text, 0)
    if text[start : start + 1] != "{":
        raise Refused("a header that is not a JSON object")
    end = _skip(text, _object(text, start, member, usual))
    if end != len(text):
        raise _no_json(f"more behind its end (character {end})")
    return found[0] if found else None


def twice(name: str) -> Refused:
    """The refusal of a key that is there twice."""
    return Refused(f"the key {name!r} twice")


def _object(text: str, at: int, member: Callable[[str, int], int], usual: Callable[[int], int] = int) -> int:
    """The place behind the object at ``at``; ``member`` is called with each name and the place of its value, and gives
    the place behind that. ``usual`` takes as many members as it can and gives the place of the next.
    """
    at = _skip(text, at + 1)
    if text[at : at + 1] == "}":
        return at + 1
    while True:
        at = usual(at)
        if text[at : at + 1] == "}":
            return at + 1
        if text[at : at + 1] != '"':
            raise _no_json(f"no name where one should be (character {at})")
        name, at = _any(text, at)
        at = _past(text, at, ":")
        at = _skip(text, member(name, at))
        if text[at : at + 1] == "}":
            return at + 1
        at = _past(text, at, ",")


def _tensor(name: str, said: Any) -> tuple[str, tuple[int, ...], int, int]:
    """(number format, shape, first byte, end) of what is said of a tensor. Raises Refused."""
    if not isinstance(said, dict):
        raise Refused(f"no object for {name!r}")
    dtype, shape, offsets = said.get("dtype"), said.get("shape"), said.get("data_offsets")
    if not isinstance(dtype, str):
        raise Refused(f"the unknown number format {dtype!r} of {name!r}")
    if not _whole_numbers(shape):
        raise Refused(f"the shape {shape!r} of {name!r}")
    if not _whole_numbers(offsets) or len(offsets) != 2:
        raise Refused(f"the offsets {offsets!r} of {name!r}")
    return dtype, tuple(shape), offsets[0], offsets[1]


def _whole_numbers(given: Any) -> TypeGuard[list[int]]:
    return isinstance(given, list) and set(map(type, given)) <= {int} and min(given, default=0) >= 0


def _metadata(text: str, at: int) -> tuple[Any, int]:
    if text[at : at + 1] != "{":
        return _short(text, at, VALUE_CHARACTERS, "the metadata")
    found: dict[str, Any] = {}

    def member(name: str, at: int) -> int:
        if name in found:
            raise twice(name)
        if len(found) == METADATA_CAP:
            raise Refused(f"more than the {METADATA_CAP} values of metadata that are allowed")
        if text[at : at + 1] == '"':
            found[name], at = _any(text, at)
        else:
            found[name], at = None, _short(text, at, VALUE_CHARACTERS, "a value of the metadata")[1]
        return at

    return found, _object(text, at, member)


def _short(text: str, at: int, characters: int, what: str) -> tuple[Any, int]:
    """(value, place behind it) of a value that is at most so long."""
    try:
        value, end = _any(text[at : at + characters], 0)
    except Refused:
        if len(text) - at > characters:
            raise Refused(f"more than {characters} characters about {what}, or no JSON") from None
        raise
    _check_depth(value)
    return value, at + end


def _any(text: str, at: int) -> tuple[Any, int]:
    """(value, place behind it). Raises Refused."""
    try:
        value, end = _DECODER.raw_decode(text, at)
    except Refused:
        raise
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise _no_json(str(error)) from None
    return value, int(end)


def _skip(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def _past(text: str, at: int, sign: str) -> int:
    """The place of what comes after a colon or a comma."""
    at = _skip(text, at)
    if text[at : at + 1] != sign:
        raise _no_json(f"no {sign!r} where one should be (character {at})")
    return _skip(text, at + 1)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEPTH_CAP):
        level = [
            inner
            for node in level
            if isinstance(node, dict | list)
            for inner in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> Refused:
    return Refused(f"a header nested more than {DEPTH_CAP} levels deep")


def _no_json(why: str) -> Refused:
    return Refused(f"a header that is not JSON in UTF-8: {why}")


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        raise twice(next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1))
    return tree


def _no_constant(word: str) -> Any:
    raise Refused(f"{word} in the header")


_DECODER = json.JSONDecoder(object_pairs_hook=_no_twice, parse_constant=_no_constant)
