"""What ``lora show`` says of an adapter as lines for a terminal; nothing is computed here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sakuga.cli.columns import folded, printable, terminal

LABEL = 12  # columns of the names of lines
STATED = {
    "matches": "is that of the tensors in this file, whose first digits are autov3",
    "differs": "is not that of the tensors in this file (autov3): they were changed since, or it is of another file",
    "a hash of another kind": "is a hash of another kind, as LyCORIS writes it, so it is not compared with autov3",
}
LEGACY = {
    "matches": "is autov1 of this file",
    "cannot be compared": "cannot be compared with autov1: it was taken before other metadata came into the file",
}
SHOWN = 6  # modules, blocks' neighbours and reasons that the text lists; JSON has all


def lines_of_adapter(told: Mapping[str, Any]) -> list[str]:
    """A heading with the name, then a paragraph for each thing that is known."""
    keys, modules = told["keys"], told["modules"]
    lines = [printable(told["name"])]
    lines += _line("file", told["file"])
    lines += _line("family", f"{told['family'] or 'not known'}: {told['family_reason']}")
    lines += _line("base", told["base"] and f"{told['base']}, as its metadata state")
    lines += _line("layout", f"{told['layout']}: {told['layout_reason']}")
    lines += _line("algorithms", _times(told["algorithms"]))
    lines += _line("ranks", _times(told["ranks"]))
    lines += _line("alphas", _times(told["alphas"]))
    lines += _line("numbers", f"{_times(told['formats'])}; {told['size_bytes'] / 1e6:.1f} MB")
    lines += _line("modules", f"{modules['used']} of {modules['total']} are used")
    counts = f"{len(keys['ignored'])} ignored, {len(keys['refused'])} refused"
    lines += _line("keys", f"{keys['used']} of {keys['total']} are used, {counts}")
    lines += _reasons("refused", keys["refused"]) + _reasons("ignored", keys["ignored"])
    lines += _line("alias", told["alias"])
    for entry in told["trigger_words"]:
        lines += _line("words", f"{entry['words']}  ({entry['source']})")
    lines += _line("tags", ", ".join(f"{tag} {count}" for tag, count in told["tags"].items()))
    lines += _line("training", "; ".join(f"{key}: {value}" for key, value in told["metadata"]["shown"].items()))
    lines += _line("withheld", ", ".join(told["metadata"]["withheld"]))
    lines += _hashes(told["hashes"])
    lines += _neighbours(told["beside"])
    for note in told["notes"]:
        lines += _line("note", note)
    lines += _fit(told["fit"])
    return lines + (_deep(told["deep"]) if "deep" in told else [])


def lines_of_twins(twins: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each pair of files that are one and the same."""
    lines = []
    for pair in twins:
        why = "the same tensors to the byte" if pair["same_payload"] else f"cosine {pair['cosine']:.6f}"
        lines += _line("twins", f"{' and '.join(pair['files'])}: {why}", indent="")
    return lines


def _fit(fit: Mapping[str, Any] | None) -> list[str]:
    if fit is None:
        return _line("fit", "not asked (give --base)")
    problem, shapes = fit["problem"], "" if fit["shapes_checked"] else ", shapes are not checked"
    if problem is None:
        return _line("fit", f"it fits this base: {fit['used']} modules have their place{shapes}")
    lines = _line("fit", f"no: {problem['title']}")
    lines += _line("expected", problem["expected"])
    lines += _line("nearest", problem["nearest"])
    misfits = fit["misfits"]
    for one in misfits[:SHOWN]:
        near = f"; spelt most like {one['nearest']}" if one["nearest"] else ""
        lines += _line("misfit", f"{one['module']}: {one['reason']}{near}")
    return lines + (_line("misfit", f"and {len(misfits) - SHOWN} more") if len(misfits) > SHOWN else [])


def _deep(deep: Mapping[str, Any]) -> list[str]:
    odd = deep["not_finite"]
    lines = _line(
        "finite", "all numbers are" if deep["finite"] else f"no: {', '.join(odd[:SHOWN])} hold NaN or infinity"
    )
    lines += _line("effect", _effect(deep["effect"]))
    lines += [f"    {printable(block):<24} {_effect(size)}" for block, size in deep["blocks"].items()]
    strongest = ", ".join(f"{one['module']} {_figure(one['ratio'] or one['change'])}" for one in deep["strongest"])
    lines += _line("strongest", strongest)
    for reason, count in deep["unmeasured"].items():
        lines += _line("unmeasured", f"{count} modules: {reason}")
    return lines


def _effect(size: Mapping[str, Any]) -> str:
    """‖ΔW‖/‖W‖ where the weights are known, ‖ΔW‖ alone where they are not."""
    count = f"{size['modules']} module{'' if size['modules'] == 1 else 's'}"
    if size["ratio"] is None:
        return f"‖ΔW‖ {_figure(size['change'])} in {count}"
    return f"‖ΔW‖/‖W‖ {_figure(size['ratio'])} in {count}"


def _hashes(hashes: Mapping[str, Any]) -> list[str]:
    lines = _line("sha256", hashes["sha256"])
    old = hashes["autov1"] or "none (the file ends before the piece that it is over)"
    lines += _line("hashes", f"autov2 {hashes['autov2']}, autov3 {hashes['autov3']}, autov1 {old}")
    if hashes["sshs_check"]:
        lines += _line("stated", f"sshs_model_hash {hashes['sshs_stated']} {STATED[hashes['sshs_check']]}")
    if hashes["sshs_legacy_check"]:
        lines += _line(
            "stated", f"sshs_legacy_hash {hashes['sshs_legacy_stated']} {LEGACY[hashes['sshs_legacy_check']]}"
        )
    lines += _line("crc32", hashes["crc32"])
    return lines + _line("blake3", hashes["blake3"] or hashes["blake3_missing"])


def _neighbours(beside: Mapping[str, Any] | None) -> list[str]:
    if beside is None:
        return []
    lines = _line("beside it", ", ".join(beside["files"]))
    for name in ("title", "base", "description", "preferred_weight", "negative", "notes"):
        value = beside[name]
        lines += [] if value is None else _line("", f"{name.replace('_', ' ')}: {value}")
    return lines


def _reasons(label: str, left: Iterable[Mapping[str, str]]) -> list[str]:
    """Keys that are not used, by reason, with the first of each."""
    keys = list(left)
    first = {one["reason"]: one["key"] for one in reversed(keys)}
    counts = Counter(one["reason"] for one in keys).most_common()
    lines = []
    for reason, count in counts[:SHOWN]:
        lines += _line(label, f"{count} such as {first[reason]}: {reason}")
    return lines + (_line(label, f"and {len(counts) - SHOWN} more reasons") if len(counts) > SHOWN else [])


def _times(counts: Mapping[str, int]) -> str:
    """``32 (×264), 16 (×3)``."""
    return ", ".join(f"{name} (×{count})" for name, count in counts.items()) or "none"


def _figure(value: float) -> str:
    return f"{value:.3g}"


def _line(label: str, text: object, indent: str = "  ") -> list[str]:
    """``text`` beside its label, folded where the terminal ends; nothing for nothing."""
    if not text:
        return []
    columns = terminal()
    first = f"{indent}{label:<{LABEL}}"
    lines: list[str] = []
    for part in str(text).splitlines() or [""]:
        lines += folded(printable(part), columns, " " * len(first) if lines else first, " " * len(first))
    return lines
