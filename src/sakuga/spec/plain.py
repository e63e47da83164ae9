"""What all records of a Job share: strict, frozen, without unknown keys, and errors with advice instead of ValueErrors.

Also the kinds of text that they hold. Refuses truth values as numbers, numbers as text and text as numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    ValidationError,
)

from sakuga.errors import JobError, raise_all
from sakuga.spec.findings import carried, findings_of, shown

MODEL_ENDINGS = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")
LONGEST_PROMPT = 10_000  # characters; about 2,000 tokens
_LONGEST_PART_BYTES = 255  # of a path; no common file system has longer ones
Result = TypeVar("Result")

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _Metaclass
else:
    _Metaclass = type(BaseModel)  # pydantic gives it no public name


class _Advised(_Metaclass):
    """Lets ``Stage(steps=0)`` raise a JobError. Nested records do not pass here, so that findings are collected."""

    def __call__(cls, *args: object, **fields: object) -> object:
        try:
            return super().__call__(*args, **fields)
        except ValidationError as error:
            raise_all(findings_of(error, cls))  # type: ignore[arg-type]
            raise


class Plain(BaseModel, metaclass=_Advised):
    """A record of the job: frozen, strict, plain, hashable."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
        hide_input_in_errors=True,
    )


def reader(read: Callable[[object], Result]) -> PlainValidator:
    """A validator that reads a value with ``read`` and collects its JobError."""
    return PlainValidator(_collected(read))


def before(read: Callable[[object], object]) -> BeforeValidator:
    """A validator that changes short forms into long ones with ``read`` and collects its JobError."""
    return BeforeValidator(_collected(read))


def check(read: Callable[[Result], Result]) -> AfterValidator:
    """A validator for a value whose kind is known already; collects the JobError of ``read``."""
    return AfterValidator(_collected(read))


def _collected(read: Callable[[Result], object]) -> Callable[[Result], object]:
    def collect(value: Result) -> object:
        try:
            return read(value)
        except JobError as error:
            raise carried(error) from None

    return collect


def checked_name(text: str) -> str:
    """``text`` as a file, a folder or a name in the library; raises JobError if it can be none of these."""
    if not text.strip():
        raise JobError("a name is empty", given=shown(text), expected="a name or a path")
    try:
        longest = max(len(part) for part in os.fsencode(text).replace(b"\\", b"/").split(b"/"))
        text.encode()
    except UnicodeEncodeError:
        raise JobError("a name is not Unicode text", given=ascii(text)[:80], do="rename the file") from None
    if longest > _LONGEST_PART_BYTES or not text.isprintable():
        raise JobError("no file can have this name", given=shown(text), expected="a name or a path")
    return text


def as_path(value: object) -> Path:
    """``value`` as a path, ``~`` resolved. Raises JobError for what can be none."""
    if not isinstance(value, str | Path):
        raise JobError("a value of the wrong kind", given=shown(value), expected="a path, as text")
    path = Path(checked_name(str(value)))
    try:
        return path.expanduser()
    except RuntimeError:  # "~somebody" without such a user is an ordinary, if odd, file name
        return path


def _prompt(text: str) -> str:
    if len(text) > LONGEST_PROMPT:
        given = f"{len(text):,} characters: {shown(text)}"
        raise JobError("a prompt is too long", given=given, expected=f"at most {LONGEST_PROMPT:,} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise JobError("a prompt is not Unicode text", given=ascii(text)[:80]) from None
    if "\0" in text:
        raise JobError("a prompt holds a zero byte", given=shown(text))
    return text


Name: TypeAlias = Annotated[str, check(checked_name)]
FilePath: TypeAlias = Annotated[Path, reader(as_path)]
Prompt: TypeAlias = Annotated[str, check(_prompt)]
