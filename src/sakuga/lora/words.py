"""Words about an adapter: trigger words, tags of its training, text from strangers made fit to be shown.

What comes from metadata and from files beside an adapter is never trusted: it is shortened, it is one line, and no
character in it moves a cursor or turns the direction of writing. Nothing here decides what a file is.
"""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Mapping

TAGS_KEY = "ss_tag_frequency"
TAGS_CAP_CHARACTERS = 8 * 2**20  # a longer table is not read
TAG_CAP = 64  # characters; a longer tag is a caption, which is a private matter
SHOWN_TAGS = 20
WORD_CAP = 300
PROSE_CAP = 600
ALIAS_KEY = "ss_output_name"
PHRASE_KEY = "modelspec.trigger_phrase"
BASE_KEY = "ss_base_model_version"
ARCHITECTURE_KEY = "modelspec.architecture"
_TAG = re.compile(r"<[^<>]*>")
_PATH = re.compile(r"[/\\]")


def clean(text: object, cap: int = WORD_CAP) -> str:
    """``text`` as one line of printable characters, at most ``cap`` of them; empty when it is no text.

    >>> clean("ink\\n style\\u202e\\x1b[2J")
    'ink style [2J'
    """
    if not isinstance(text, str):
        return ""
    # what is cut away here is long beyond use: the rest is looked at letter by letter
    near = text[: 8 * cap]
    if not near.isprintable():
        near = "".join(letter if letter.isprintable() else " " for letter in near)
    line = " ".join(near.split())
    return line if len(line) <= cap else line[: cap - 1] + "…"


def prose(text: object, cap: int = PROSE_CAP) -> str:
    """A description that may be written in HTML, as one plain line.

    >>> prose("<p>Thin &amp; <b>inky</b></p>")
    'Thin & inky'
    """
    if not isinstance(text, str):
        return ""
    return clean(html.unescape(_TAG.sub(" ", text[: 16 * cap])), cap)


def tag_counts(metadata: Mapping[str, str]) -> Counter[str]:
    """How often each tag occurs in the training's captions, over all its folders, whose names are not told.

    Empty when the file states none, or a table that is broken, or too long to be read.
    """
    counts: Counter[str] = Counter()
    text = metadata.get(TAGS_KEY, "")
    if not text or len(text) > TAGS_CAP_CHARACTERS:
        return counts
    try:
        folders = json.loads(text)
    except (ValueError, RecursionError):
        return counts
    # asked once of the whole table: then no tag in it needs more cleaning than its ends
    plain = text.isprintable() and "\\" not in text and "  " not in text
    for tags in folders.values() if isinstance(folders, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if isinstance(count, int) and 0 < count < 2**53 and len(tag) <= TAG_CAP and not _PATH.search(tag):
                counts[tag.strip() if plain else clean(tag)] += count
    del counts[""]
    return counts


def stated_words(metadata: Mapping[str, str]) -> str:
    """The trigger phrase that the metadata state; empty when there is none."""
    return clean(metadata.get(PHRASE_KEY))


def alias(metadata: Mapping[str, str]) -> str:
    """The name that the training gave its result, by which prompts elsewhere may call it; empty when there is none.

    A trainer may have been given a path there: only its last part is a name.
    """
    last = _PATH.split(metadata.get(ALIAS_KEY, ""))[-1]
    return "" if last == "None" else clean(last)


def stated_base(metadata: Mapping[str, str]) -> str:
    """The base that the metadata state, which is a hint and no proof."""
    return clean(metadata.get(BASE_KEY)) or clean(metadata.get(ARCHITECTURE_KEY))
