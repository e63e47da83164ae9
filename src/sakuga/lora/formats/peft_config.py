"""PEFT's config: ``adapter_config.json`` beside ``adapter_model.…``, or the JSON that diffusers puts into the header.

It holds the scale of every module and the options that change a formula, which PEFT keeps out of the tensors. What it
asks for and is not known is refused by name; nothing in it is ever imported or run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

from sakuga.errors import UnreadableFile
from sakuga.lora.algorithms.record import Facts
from sakuga.lora.formats.layout import Header
from sakuga.lora.formats.peft_patterns import Patterns, UnknownPattern, holds

HEADER_KEY = "lora_adapter_metadata"
CAP_BYTES = 1 << 20
LARGEST = 1 << 12  # of an option; a series of more terms would be endless
HUGE = 1e300  # also below the numbers that JSON may hold and a float may not
TYPES = ("LORA", "LOHA", "LOKR", "OFT", "BOFT", "IA3", "ADALORA")
# Trainings that move a part of the base into the adapter: applied to the plain base they would count it twice.
BASE_CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")
# Fields of the formulas that are handed to the algorithm as they are.
OPTIONS = ("use_cayley_neumann", "num_cayley_neumann_terms", "block_share", "coft", "eps", "fan_in_fan_out", "init_r")
# Active fields that change the numbers in ways that the keys alone do not show, and that are not applied.
VARIANTS = ("alora_invocation_tokens", "layer_replication", "target_parameters", "trainable_token_indices")
# Fields called use_… or …_config that are understood, or that only training looks at. Any other active one is refused.
UNDERSTOOD = frozenset(
    {"use_rslora", "use_dora", "use_effective_conv2d", "use_cayley_neumann"}
    | {f"{name}_config" for name in ("megatron", "loftq", "eva", "corda", "lora_ga", "runtime")}
)


@dataclass(frozen=True, kw_only=True)
class PeftConfig:
    """``fields`` by component, None for a file that knows none. ``text`` is that of a file beside it, or empty."""

    fields: Mapping[str | None, Mapping[str, Any]]
    text: str
    note: str

    @cached_property
    def _tables(self) -> dict[str | None, _Fields]:
        return {component: _Fields(fields) for component, fields in self.fields.items()}

    @property
    def problem(self) -> str:
        """Why such an adapter is not applied, or empty."""
        return next((fields.problem for fields in self._tables.values() if fields.problem), "")

    @property
    def base(self) -> str:
        """The base that it names, or empty."""
        named = (fields.get("base_model_name_or_path") for fields in self.fields.values())
        return next((str(name) for name in named if name), "")

    def facts(self, component: str | None, path: str, rank: int, leaves: Collection[str]) -> tuple[Facts, str]:
        """(what it says of a module, "") or (nothing, why the module is refused). ``rank`` is that of its factors."""
        fields = self._of(component)
        if fields is None:
            return Facts(dialect="peft"), ""
        if fields.problem:
            return Facts(dialect="peft"), fields.problem
        return fields.facts(path, rank, leaves)

    def replaced(self, component: str | None, path: str, leaf: str) -> tuple[str, str]:
        """(path, leaf) of a plain ``weight`` or ``bias``: one that PEFT saved whole replaces the base's own."""
        fields = self._of(component)
        path = path.removesuffix(".base_layer")
        if fields is None:
            return path, leaf
        head, found, rest = path.partition(".modules_to_save")
        if found and rest.count(".") <= 1:  # followed by the adapter's name at most
            return head, f"set_{leaf}"
        biases = leaf == "bias" and fields.given.get("bias") in ("all", "lora_only")
        return path, f"set_{leaf}" if biases or holds(fields.saved, path) else leaf

    def _of(self, component: str | None) -> _Fields | None:
        return self._tables.get(component, self._tables.get(None))


class _Fields:
    """The fields for one component, taken apart once."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given
        self.kind = given.get("peft_type") or "LORA"
        self.saved = tuple(_listed(given.get("modules_to_save")))
        self.problem = _variant(self.kind, given)
        self.alphas = self.ranks = Patterns()
        try:
            self.alphas = self._patterns("alpha_pattern")
            if self.kind != "ADALORA":  # there it is a mask of what was cut away, which the tensors show
                self.ranks = self._patterns("rank_pattern")
            feedforward = given.get("feedforward_modules") or ()
            names = [feedforward] if isinstance(feedforward, str) else _listed(feedforward)
            self.feedforward = Patterns.of(dict.fromkeys(map(str, names), True))
        except UnknownPattern as unknown:
            self.problem = self.problem or f"its PEFT config has {unknown}"

    def _patterns(self, name: str) -> Patterns:
        given = self.given.get(name) or {}
        if not isinstance(given, Mapping):
            raise UnknownPattern(f"an {name} that is not a table".replace("an rank", "a rank"))
        try:
            return Patterns.of(given)
        except UnknownPattern as unknown:
            raise UnknownPattern(f"the {name} {unknown}") from None

    def facts(self, path: str, rank: int, leaves: Collection[str]) -> tuple[Facts, str]:
        """See PeftConfig.facts."""
        nothing = Facts(dialect="peft")
        options: dict[str, float | int | bool | str] = {
            name: self.given[name] for name in OPTIONS if name in self.given
        }
        for name, option in options.items():
            if not isinstance(option, bool) and not (_finite(option) and 0 <= option <= LARGEST):
                return nothing, f"its PEFT config states {name} as {option!r}"[:80]
        if self.kind == "IA3":
            options["feedforward"] = self.feedforward.value(path) is not None
        stated: dict[str, float | None] = {}
        for name, other, table in (("alpha", "lora_alpha", self.alphas), ("r", "r", self.ranks)):
            value = table.value(path)
            value = self.given.get(other, self.given.get(name)) if value is None else value
            if value is not None and not _finite(value):
                return nothing, f"its PEFT config states {name} as {value!r}"[:80]
            stated[name] = None if value is None else float(value)
        alpha, r = stated["alpha"], stated["r"]
        if self.given.get("use_dora") and "up" in leaves and "magnitude" not in leaves:
            return nothing, "its PEFT config says DoRA, but the module has no magnitude"
        options |= {} if r is None else {"r": int(r)}
        if alpha is not None and self.given.get("use_rslora"):
            # rank-stabilised LoRA divides by √r: kept as an alpha that gives the same scale when divided by r
            alpha *= math.sqrt(rank or r or 1)
        return Facts(alpha=alpha, dialect="peft", options=options), ""


def _finite(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < HUGE


def _listed(given: object) -> list[object]:
    return list(given) if isinstance(given, list | tuple) else []


def _variant(kind: object, fields: Mapping[str, Any]) -> str:
    """Why no module of such an adapter is applied, or empty."""
    if kind not in TYPES:
        return f"its PEFT config says {str(kind)[:64]}, which this version does not apply"
    start = fields.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(BASE_CHANGING):
        return f"it was trained with {start} initialisation on a changed base and was not converted"
    if fields.get("fan_in_fan_out") and (kind not in ("LORA", "ADALORA") or fields.get("use_dora")):
        return "its PEFT config says fan_in_fan_out, which is read for plain LoRA only"
    active = [name for name in VARIANTS if fields.get(name)]
    active += [
        name
        for name, value in fields.items()
        if name not in UNDERSTOOD and ((name.startswith("use_") and value) or (name.endswith("_config") and value))
    ]
    listed = ", ".join(name[:64] for name in active[:5])
    return f"its PEFT config uses {listed}, which this version does not apply" if active else ""


def config_of(file: Header) -> PeftConfig | None:
    """The config of this file, or None. Raises UnreadableFile when there is one and it is broken."""
    if HEADER_KEY in file.metadata:
        text = file.metadata[HEADER_KEY]
        by_component: dict[str | None, dict[str, Any]] = {}
        for key, value in _parse(text, file.path).items():
            component, _, name = key.partition(".")
            by_component.setdefault(component, {})[name] = value
        return PeftConfig(fields=by_component, text="", note=f"alpha is as {HEADER_KEY} in its header says")
    beside = file.path.with_name("adapter_config.json")
    if file.path.stem != "adapter_model" or not beside.is_file():
        return None
    if beside.stat().st_size > CAP_BYTES:
        raise UnreadableFile("a PEFT config is too large to be one", given=f"{beside}", expected="at most 1 MiB")
    text = beside.read_text(encoding="utf-8", errors="replace")
    return PeftConfig(fields={None: _parse(text, beside)}, text=text, note=f"alpha is as {beside.name} beside it says")


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise UnreadableFile(
            "a PEFT config is not JSON", given=f"{path}: {problem}", do="save the adapter again"
        ) from None
    if not isinstance(found, dict):
        raise UnreadableFile("a PEFT config is not a JSON object", given=f"{path}", do="save the adapter again")
    return found
