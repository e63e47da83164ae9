"""For which family of models an adapter was made: by its names first, then by its shapes, then by what it states.

Only for words and for refusals: what an adapter fits is decided by the real module tree, never by this guess. Where the
evidence fits several families, the guess names them all instead of choosing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sakuga.lora.family_evidence import FAMILIES, STATED, STATED_KEYS, Evidence

Extent = tuple[int | None, int | None]  # rows of the weight that a module changes, features it takes; None: unknown

_DIGITS = str.maketrans("0123456789", "#" * 10)
_DENOISER = re.compile(r"(?:lora_(?:unet|transformer)_+|oft_unet_|lycoris_|(?:unet|transformer|transformer_2)\.)")
_TEXT = re.compile(r"(?:lora_te(\d?)_|text_encoder(?:_(\d))?\.)")
STATED_BY_LAYOUT = ""  # the key under which a layout or a config beside the file says the base
_KEPT = 4000  # distinct names that are looked at
_TITLES = {evidence.name: evidence.title for evidence in FAMILIES}


@dataclass(frozen=True, kw_only=True)
class FamilyGuess:
    """``family`` None: no evidence, or evidence for each of ``alternatives``. ``phrase`` is for sentences ("an SDXL
    adapter"), ``reason`` says what tells it.
    """

    family: str | None
    phrase: str
    reason: str
    alternatives: tuple[str, ...] = ()

    @property
    def possible(self) -> tuple[str, ...]:
        """The families that it may be for; empty when nothing tells."""
        return (self.family,) if self.family else self.alternatives

    @property
    def told(self) -> str:
        """The reason as a sentence by itself: where the family stays open, with those that it may be."""
        return f"it may be {self.phrase}, by {self.reason}" if self.alternatives else self.reason


def guess_family(modules: Iterable[tuple[str, Extent]], metadata: Mapping[str, str]) -> FamilyGuess:
    """The family of modules given as (name, extent), names as files write them or as ``component.path``."""
    seen = [(name, _flat(name), extent) for name, extent in _ends(modules)]
    names, reason = _fitting(seen)
    if not names:  # as wide as no published model, or of several at once: the names alone
        names, reason = _fitting([(name, flat, (None, None)) for name, flat, _ in seen])
        reason += "; these widths are of no one published model"
    return _told(names, reason, metadata)


def _fitting(modules: Iterable[tuple[str, str, Extent]]) -> tuple[list[str], str]:
    """The families that have all these modules, given as (name, flat name, extent); and what told them from others."""
    candidates: list[Evidence] | None = None
    reason = ""
    for name, flat, (rows, features) in modules:
        among = FAMILIES if candidates is None else candidates
        named = [one for one in among if one.names.search(flat)]
        if not named and not any(one.names.search(flat) for one in FAMILIES):
            continue  # a name of no family, which tells nothing
        left = [one for one in named if _as_wide(one, flat, (rows, features))]
        if candidates is None or len(left) < len(candidates):
            by_width = f"{name} has {rows} rows" if features is None else f"{name} takes {features} features"
            reason = by_width if len(left) < len(named) else f"names such as {name}"
        candidates = left
    return [one.name for one in candidates or ()], reason


def _told(names: list[str], reason: str, metadata: Mapping[str, str]) -> FamilyGuess:
    if len(names) == 1:
        return FamilyGuess(family=names[0], phrase=f"{_TITLES[names[0]]} adapter", reason=reason)
    for key in (*STATED_KEYS, STATED_BY_LAYOUT):
        stated = metadata.get(key, "").lower()[:200]
        family = next((family for family, pattern in STATED if pattern.search(stated)), None) if stated else None
        if family and (not names or family in names):
            where = "its layout or config" if key == STATED_BY_LAYOUT else f"its metadata's {key}"
            told = f"{where} says {stated[:64]}"
            return FamilyGuess(family=family, phrase=f"{_TITLES[family]} adapter", reason=told)
    if not names:
        return FamilyGuess(family=None, phrase="an adapter", reason="no name, width or metadata tells it")
    words = [_TITLES[names[0]], *(_TITLES[name].partition(" ")[2] for name in names[1:])]
    phrase = f"{', '.join(words[:-1])} or {words[-1]} adapter"
    return FamilyGuess(family=None, phrase=phrase, reason=reason, alternatives=tuple(names))


def _as_wide(evidence: Evidence, flat: str, extent: Extent) -> bool:
    """Whether nothing that is known of the module's size speaks against the family."""
    return all(
        extent[width.side] in width.sizes
        for width in evidence.widths
        if extent[width.side] is not None and width.names.search(flat)
    )


def _flat(name: str) -> str:
    """The name without the prefix of a denoiser, with a short one for a text encoder, with underscores only."""
    denoiser, text = _DENOISER.match(name), _TEXT.match(name)
    if denoiser:
        return name[denoiser.end() :].replace(".", "_")
    if text:  # dotted names call the first one of several what others call the only one
        number = text[1] if text[0].startswith("lora") else text[2] or "1"
        return f"te{number}_{name[text.end() :]}".replace(".", "_")
    return name.replace(".", "_")


def _ends(modules: Iterable[tuple[str, Extent]]) -> list[tuple[str, Extent]]:
    """Of all names that differ only in numbers, the ones with the least and the greatest number."""
    least: dict[str, tuple[str, Extent]] = {}
    greatest: dict[str, tuple[str, Extent]] = {}
    for name, extent in modules:
        kind = name.translate(_DIGITS).replace("##", "#")
        size = (len(name), name)
        if kind not in least:
            if len(least) >= _KEPT:
                continue
            least[kind] = greatest[kind] = (name, extent)
        elif size < (len(least[kind][0]), least[kind][0]):
            least[kind] = (name, extent)
        elif size > (len(greatest[kind][0]), greatest[kind][0]):
            greatest[kind] = (name, extent)
    return list(dict.fromkeys([*least.values(), *greatest.values()]))
