"""Fit: may this file be used on this model? A file of which a part would silently have no effect is refused.

The error says what was given, what was expected, how much of it would fit and, by reason, what does not.
"""

from __future__ import annotations

from collections import Counter

from sakuga.errors import AdapterDoesNotFit, counted
from sakuga.lora.placing import NAMELESS
from sakuga.lora.reasons import by_reason
from sakuga.lora.survey import Module, Survey
from sakuga.lora.widths import Widths, widths_of
from sakuga.tensors.refs import spoken_file

BRIEF = 2  # reasons that are told where there is one for all of it


def judge(
    found: Survey, *, expected: str | None = None, family: str | None = None, allow_partial: bool = False
) -> None:
    """Raise AdapterDoesNotFit unless every module fits; with ``allow_partial``, unless at least half of them do.

    ``expected`` is what the caller knows about the base, such as 'SD 1.5, because base is "starter"'; ``family`` the
    name of its family, where that is known otherwise than by its modules.
    """
    modules = [module for module in found.modules if module.verdict != "ignored"]
    refused = [module for module in modules if module.refused]
    lost = [leftover for leftover in found.beside if leftover.refused]
    good = len(modules) - len(refused)
    if not refused and not lost:
        if good:
            return
        raise AdapterDoesNotFit(
            f"{spoken_file(found.path)} has no effect", given=_given(found), nearest=_ignored(found)
        )
    if allow_partial and good and 2 * good >= len(modules):
        return
    if refused and not lost and all(module.verdict == "numbers" for module in refused):
        raise _not_finite(found, refused, good)
    foreign = found.foreign if family is None else found.foreign_to((family,))
    widths = _widths(found, modules, family) if not foreign else None
    wanted = expected or _expected(found)
    raise AdapterDoesNotFit(
        _title(found, modules, good, foreign, widths),
        given=_given(found),
        expected=f"{wanted}, which is {widths.word}: {widths.told}" if widths else wanted,
        nearest=_nearest(found, modules, refused, brief=bool(foreign or widths)),
        do=_advice(refused, widths),
    )


def _not_finite(found: Survey, refused: list[Module], good: int) -> AdapterDoesNotFit:
    """The error for a file that is damaged by NaN or infinity, which fits otherwise."""
    first, *more = refused
    said = first.reason if first.reason.startswith(first.group.stem) else f"{first.group.stem}: {first.reason}"
    others = f", and {counted(len(more), 'more module')} alike" if more else ""
    return AdapterDoesNotFit(
        f"{spoken_file(found.path)} holds numbers that are not finite",
        given=f"{said}{others}, in {found.path}",
        expected="finite numbers in all of its tensors",
        nearest=f"{good} of {counted(good + len(refused), 'module')} are sound",
        do="fetch the file again, ask its maker for a sound one, or take it out of the job; "
        "sakuga lora show --deep with its path names all such tensors",
    )


def _widths(found: Survey, modules: list[Module], family: str | None) -> Widths | None:
    """How the base differs in width, where it may be of the adapter's own family."""
    bases = {family} if family else set(found.base.possible)
    return widths_of(modules, found.names) if found.names and bases & set(found.family.possible) else None


def _title(found: Survey, modules: list[Module], good: int, foreign: bool | None, widths: Widths | None) -> str:
    name = spoken_file(found.path)
    kinds = {module.verdict for module in modules if module.refused}
    named = sum(bool(module.seats) for module in modules)
    if kinds == {"algorithm"}:
        others = Counter(module.algorithm or "an unknown algorithm" for module in modules if module.refused)
        return f"{name} uses what this version does not apply: {', '.join(others)}"
    if widths:
        return f"{name} was made for a {'wider' if widths.narrower else 'narrower'} model of the same family"
    likely = foreign if foreign is not None else 2 * good < len(modules) and found.family.family is not None
    if kinds & {"name", "shape"} and likely:
        return f"{name} was made for another family of models"
    if modules and not named and found.names is not None:
        return f"{name} fits nothing in this model"
    return f"{name} fits only in part" if good else f"{name} does not fit"


def _given(found: Survey) -> str:
    count = counted(len(found.modules), "module")
    return f"{found.family.phrase} in {found.layout} naming, {count} ({found.family.reason})"


def _ignored(found: Survey) -> str:
    return "; ".join(dict.fromkeys(leftover.reason for leftover in found.leftovers())) or "it holds no module at all"


def _expected(found: Survey) -> str | None:
    if found.names is None:
        return None
    components = ", ".join(found.names.components)
    base = found.base
    return f"{base.phrase if base.family else 'an adapter'} for the modules of this base ({components})"


def _nearest(found: Survey, modules: list[Module], refused: list[Module], *, brief: bool) -> str:
    """How much of it has a place, and by reason what has not; ``brief`` where the title says the reason of it all."""
    lines = []
    if found.names is not None and modules:
        named = sum(bool(module.seats) for module in modules)
        wrong = sum(module.verdict == "shape" for module in modules)
        told = f", {wrong} of them with another shape" if wrong else ""
        lines.append(f"{named} of {len(modules)} names exist there{told}")
    stems = ((module.group.stem, module.reason) for module in refused)
    lines += by_reason(stems, reasons=BRIEF) if brief else by_reason(stems)
    missing = next((module for module in refused if module.reason == NAMELESS), None)
    like = found.names.nearest(missing.group.path) if missing and found.names is not None else None
    if missing and like and not brief:
        lines.append(f"spelt most like {missing.group.stem}: {like}")
    lines += by_reason(((left.key, left.reason) for left in found.beside if left.refused), "key")
    return "; ".join(lines)


def _advice(refused: list[Module], widths: Widths | None) -> str:
    verdicts = {module.verdict for module in refused}
    if widths:
        small = ", not a small one such as the starter" if widths.narrower else ""
        return f"choose a base of the width that it was made for{small}, or take it out of the job"
    if verdicts & {"name", "bare", "shape"}:
        return "choose a base that it was made for, or take it out of the job"
    if verdicts == {"algorithm"}:
        return "use a plain LoRA of the same style, or take it out of the job"
    return "fetch or save the file again, or take it out of the job"
