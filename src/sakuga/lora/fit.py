"""Fit: may this file be used on this model? A file of which a part would silently have no effect is refused.

The error says what was given, what was expected, how much of it would fit and the first name that does not.
"""

from __future__ import annotations

from collections import Counter

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.placing import NAMELESS
from sakuga.lora.survey import Module, Survey

SHOWN = 3  # how many modules an error lists


def judge(found: Survey, *, expected: str | None = None, allow_partial: bool = False) -> None:
    """Raise AdapterDoesNotFit unless every module fits; with ``allow_partial``, unless at least half of them do.

    ``expected`` is what the caller knows about the base, such as 'SD 1.5, because base is "starter"'.
    """
    modules = [module for module in found.modules if module.verdict != "ignored"]
    refused = [module for module in modules if module.refused]
    lost = [leftover for leftover in found.beside if leftover.refused]
    good = len(modules) - len(refused)
    if not refused and not lost:
        if good:
            return
        raise AdapterDoesNotFit(f"{found.path.name} has no effect", given=_given(found), nearest=_ignored(found))
    if allow_partial and good and 2 * good >= len(modules):
        return
    raise AdapterDoesNotFit(
        _title(found, modules, good),
        given=_given(found),
        expected=expected or _expected(found),
        nearest=_nearest(found, modules, refused),
        do=_advice(found, refused, good),
    )


def _title(found: Survey, modules: list[Module], good: int) -> str:
    name = found.path.name
    kinds = {module.verdict for module in modules if module.refused}
    named = sum(bool(module.seats) for module in modules)
    if kinds == {"algorithm"}:
        others = Counter(module.algorithm or "an unknown algorithm" for module in modules if module.refused)
        return f"{name} uses what this version does not apply: {', '.join(others)}"
    foreign = (
        found.foreign if found.foreign is not None else 2 * good < len(modules) and found.family.family is not None
    )
    if kinds & {"name", "shape"} and foreign:
        return f"{name} was made for another family of models"
    if modules and not named and found.names is not None:
        return f"{name} fits nothing in this model"
    return f"{name} fits only in part" if good else f"{name} does not fit"


def _given(found: Survey) -> str:
    count = len(found.modules)
    word = "module" if count == 1 else "modules"
    return f"{found.family.phrase} in {found.layout} naming, {count} {word} ({found.family.reason})"


def _ignored(found: Survey) -> str:
    return "; ".join(dict.fromkeys(leftover.reason for leftover in found.leftovers())) or "it holds no module at all"


def _expected(found: Survey) -> str | None:
    if found.names is None:
        return None
    components = ", ".join(found.names.components)
    base = found.base
    return f"{base.phrase if base.family else 'an adapter'} for the modules of this base ({components})"


def _nearest(found: Survey, modules: list[Module], refused: list[Module]) -> str:
    lines = []
    if found.names is not None and modules:
        named = sum(bool(module.seats) for module in modules)
        wrong = sum(module.verdict == "shape" for module in modules)
        told = f", {wrong} of them with another shape" if wrong else ""
        lines.append(f"{named} of {len(modules)} names exist there{told}")
    missing = next((module for module in refused if module.reason == NAMELESS), None)
    if missing and found.names is not None:
        like = found.names.nearest(missing.group.path)
        lines.append(f"the first that does not: {missing.group.stem}")
        lines += [f"spelt most like it: {like}"] if like else []
    others = [module for module in refused if module.reason != NAMELESS]
    shown = 1 if missing else SHOWN  # where names are missing already, one shape says enough
    if len({module.reason for module in others}) == 1 and len(others) > shown:
        lines.append(f"{others[0].reason} ({others[0].group.stem} and {len(others) - 1} more)")
    else:
        lines += [f"{module.group.stem}: {module.reason}" for module in others[:shown]]
        lines += [f"and {len(others) - shown} more"] if len(others) > shown else []
    lines += list(dict.fromkeys(f"{left.key}: {left.reason}" for left in found.beside if left.refused))[:SHOWN]
    return "; ".join(lines)


def _advice(found: Survey, refused: list[Module], good: int) -> str:
    verdicts = {module.verdict for module in refused}
    if verdicts & {"name", "shape"}:
        return "choose a base that it was made for, or take it out of the job"
    if verdicts == {"algorithm"}:
        return "use a plain LoRA of the same style, or take it out of the job"
    if good:
        return "fetch or save the file again; in Python, allow_partial=True applies the rest of it"
    return "fetch or save the file again, or take it out of the job"
