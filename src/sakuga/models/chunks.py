"""A prompt as rows of 77 tokens: words with their strength of attention, embeddings in their place, pure of any model.

A row is BOS, at most 75 tokens, EOS, and EOS again up to 77, as the text encoder was trained. A1111's web UI cuts long
prompts so, and reads brackets as emphasis; vectors of one embedding are never torn apart.

The style "plain" is that of DiffSynth 1.x: every sign is text, and one long tokenisation is cut every 77 tokens, so
that only the first row has a BOS and only the last an EOS before its padding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from sakuga.errors import FileProblem, JobError
from sakuga.models.embedding import Embedding
from sakuga.spec.prompt import parse_emphasis

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One position of a row: a token, how strong it is, and the row of an embedding's vectors that takes its place."""

    token: int
    strength: float = 1.0
    embedding: Embedding | None = None
    vector: int = 0


Row = tuple[Slot, ...]
Style: TypeAlias = Literal["a1111", "plain"]


def rows_of(
    text: str, tokenizer: CLIPTokenizer, embeddings: Sequence[Embedding], positions: int, style: Style = "a1111"
) -> tuple[Row, ...]:
    """The rows of a prompt, each ``positions`` long; at least one. Raises JobError and FileProblem."""
    if style == "plain":
        return _plain_rows(text, tokenizer, embeddings, positions)
    room = positions - 2
    rows: list[list[Slot]] = [[]]
    for piece in _pieces(parse_emphasis(text), tokenizer, embeddings):
        if len(piece) > room:
            raise FileProblem(
                "an embedding is longer than a prompt may be",
                given=f"{piece[0].embedding.name if piece[0].embedding else 'it'} with {len(piece)} vectors",
                expected=f"at most {room}",
            )
        if len(rows[-1]) + len(piece) > room:
            rows.append([])
        rows[-1].extend(piece)
    return tuple(_framed(row, tokenizer, positions) for row in rows)


def _plain_rows(
    text: str, tokenizer: CLIPTokenizer, embeddings: Sequence[Embedding], positions: int
) -> tuple[Row, ...]:
    """BOS, all tokens and EOS in a line, EOS again up to whole rows, cut wherever a row is full."""
    begin, end = Slot(token=int(tokenizer.bos_token_id)), Slot(token=int(tokenizer.eos_token_id))
    pieces = _pieces(((text, 1.0),), tokenizer, embeddings)
    line = [begin, *(slot for piece in pieces for slot in piece), end]
    line += [end] * (-len(line) % positions)
    return tuple(tuple(line[first : first + positions]) for first in range(0, len(line), positions))


def _framed(slots: Iterable[Slot], tokenizer: CLIPTokenizer, positions: int) -> Row:
    begin, end = Slot(token=int(tokenizer.bos_token_id)), Slot(token=int(tokenizer.eos_token_id))
    inner = (begin, *slots, end)
    padding = Slot(token=int(tokenizer.pad_token_id))
    return inner + (padding,) * (positions - len(inner))


def _pieces(
    parts: Iterable[tuple[str, float]], tokenizer: CLIPTokenizer, embeddings: Sequence[Embedding]
) -> Iterator[list[Slot]]:
    """What belongs together, of texts with their strengths: single tokens, and all vectors of an embedding."""
    known = _by_name(embeddings)
    pattern = _pattern(known)
    for words, strength in parts:
        place = 0
        for match in pattern.finditer(words) if pattern else ():
            yield from _words(words[place : match.start()], strength, tokenizer)
            found = known[match[0].casefold()]
            count = len(found.vectors)
            yield [Slot(token=0, strength=strength, embedding=found, vector=number) for number in range(count)]
            place = match.end()
        yield from _words(words[place:], strength, tokenizer)


def _words(text: str, strength: float, tokenizer: CLIPTokenizer) -> Iterator[list[Slot]]:
    if text.strip():
        for token in tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids:
            yield [Slot(token=token, strength=strength)]


def _by_name(embeddings: Sequence[Embedding]) -> dict[str, Embedding]:
    known: dict[str, Embedding] = {}
    for embedding in embeddings:
        for name in embedding.names:
            other = known.setdefault(name.casefold(), embedding)
            if other is not embedding and other.source.path != embedding.source.path:
                raise JobError(
                    "two embeddings answer to one name",
                    given=f"{name}: {other.source.path} and {embedding.source.path}",
                    expected="names that differ by more than capitals",
                    do="take one of them out",
                )
    return known


def _pattern(known: Mapping[str, Embedding]) -> re.Pattern[str] | None:
    """Any of the names as a word of its own, the longest first, capitals or not, as CLIP's tokens."""
    if not known:
        return None
    longest = sorted(known, key=lambda name: (-len(name), name))
    return re.compile("|".join(_bounded(name) for name in longest), re.IGNORECASE)


def _bounded(name: str) -> str:
    before = r"(?<!\w)" if re.match(r"\w", name) else ""
    after = r"(?!\w)" if re.search(r"\w$", name) else ""
    return before + re.escape(name) + after
