"""Where a path such as ``stages.0.steps`` leads in the models, what is expected there, and how a flag writes it.

Reads annotations only; refuses to know any value. Errors, ``--set`` and the flags of the command line all ask here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Place: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Flag:
    """How a field is written on the command line, where that is not just its own name with dashes.

    ``names`` as argparse takes them; ``metavar`` is the word for the value.
    """

    names: tuple[str, ...] = ()
    metavar: str | None = None


@dataclass(frozen=True, kw_only=True)
class Spot:
    """What may stand at a path: ``annotation`` without None, and the ``field`` it belongs to (None for the whole)."""

    annotation: object
    field: FieldInfo | None
    may_be_none: bool = False

    @property
    def model(self) -> type[BaseModel] | None:
        """The record expected here, if it is one."""
        return self.annotation if isinstance(self.annotation, type) and issubclass(self.annotation, BaseModel) else None

    @property
    def is_list(self) -> bool:
        """A list of any length, told by a type such as ``tuple[Stage, ...]``."""
        return get_origin(self.annotation) is tuple and get_args(self.annotation)[-1] is Ellipsis

    @property
    def is_text(self) -> bool:
        """Text that is taken word for word: names, prompts, paths, one of several words."""
        kinds = get_args(self.annotation) if get_origin(self.annotation) in (Union, UnionType) else (self.annotation,)
        return all(kind in (str, Path) or get_origin(kind) is Literal for kind in kinds)

    @property
    def flag(self) -> Flag:
        """How the command line writes it; one without particulars if the field says nothing of that."""
        found = (item for item in self.field.metadata if isinstance(item, Flag)) if self.field is not None else iter(())
        return next(found, Flag())

    @property
    def words(self) -> tuple[str, ...]:
        """The words of which one may stand here; empty where any may."""
        return tuple(map(str, get_args(self.annotation))) if get_origin(self.annotation) is Literal else ()

    @property
    def help(self) -> str:
        """What the field is for, its range and its default, in one line: the docstring under the field."""
        if self.field is None:
            return ""
        told = " ".join((self.field.description or "").split())
        value = self.field.default
        silent = value is None or value is False or value in ("", ())
        default = "" if silent else f"default: {value}".removesuffix(".0")
        particulars = "; ".join(filter(None, (_range_of(self.field).strip(), default)))
        return f"{told} ({particulars})" if particulars else told


def spot(model: type[BaseModel], place: Sequence[str | int]) -> Spot | None:
    """What stands at ``place`` below ``model``; None where no field has that name or the path goes too deep."""
    here = Spot(annotation=model, field=None)
    for part in place:
        if here.model is not None:
            field = here.model.model_fields.get(str(part))
            if field is None:
                return None
            inner, may_be_none = _without_none(field.annotation)
            here = Spot(annotation=inner, field=field, may_be_none=may_be_none)
        elif here.is_list and isinstance(part, int):
            inner, _ = _without_none(get_args(here.annotation)[0])
            here = Spot(annotation=inner, field=here.field)
        else:
            return None
    return here


def expected_at(here: Spot) -> str:
    """In words what a value there must be, with its range: "a whole number from 1 to 1000"."""
    if here.words:
        return "one of " + ", ".join(here.words)
    if here.model is not None:
        return "a table with " + ", ".join(here.model.model_fields)
    if here.is_list:
        return "a list, even for one: [value]"
    kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    return kinds.get(here.annotation, "a value") + _range_of(here.field)  # type: ignore[call-overload, no-any-return]


def _range_of(field: FieldInfo | None) -> str:
    """ " from 1 to 1000", " above 0 up to 1" or nothing."""
    bounds: dict[str, object] = {}
    for item in field.metadata if field is not None else ():
        for name in ("ge", "gt", "le", "lt"):
            if (bound := getattr(item, name, None)) is not None:
                bounds[name] = bound
    low = f" from {bounds['ge']}" if "ge" in bounds else f" above {bounds['gt']}" if "gt" in bounds else ""
    high = f" to {bounds['le']}" if "le" in bounds else f" to below {bounds['lt']}" if "lt" in bounds else ""
    return low + (" up" if high and "gt" in bounds else "") + high


def _without_none(annotation: object) -> tuple[object, bool]:
    """The type with None and Annotated taken off, and whether None was allowed."""
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        others = [item for item in get_args(annotation) if item is not NoneType]
        if len(others) < len(get_args(annotation)) and len(others) == 1:
            return _without_none(others[0])[0], True
    return annotation, False
