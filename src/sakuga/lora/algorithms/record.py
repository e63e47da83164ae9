"""What an algorithm is: a frozen record of named factors that answers a few pure questions.

Nothing here computes a change. The contract every record keeps is tested in ``tests/contract/test_algorithms.py``: the
live way equals the fused way, gradients flow to the factors, nothing is changed in place. See docs/decisions/0002.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import ClassVar, Literal, Protocol

from torch import Tensor, nn

from sakuga.tensors.seat import Rows, Shape

__all__ = [
    "NO_FACTS",
    "Algorithm",
    "Factors",
    "Facts",
    "Kind",
    "Parameter",
    "Reader",
    "Rows",
    "Shape",
    "tensors_of",
]

Parameter = Literal["weight", "bias"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Factors:
    """A change of low rank as a pair: ΔW = reshape(up @ flat(down)). fp32; every scale is already inside ``down``.

    ``up`` [out, r]; ``down`` [r, in] for a Linear or [r, in, *kernel] for a convolution, so that the pairs of several
    adapters may be concatenated along r.
    """

    up: Tensor
    down: Tensor

    def down_for(self, shape: Shape) -> Tensor:
        """``down`` as [r, *shape[1:]] for a weight of ``shape``. A 1x1 kernel and a Linear stand for each other."""
        return self.down.reshape(self.down.shape[0], *shape[1:])


class Algorithm(Protocol):
    """The factors of one module. Pure and differentiable; no method changes its arguments or the factors."""

    needs_base: ClassVar[bool]  # True: ``delta`` looks at the values of the base weight, not only at its shape

    @property
    def rank(self) -> int | None:
        """The rank, where the algorithm has one."""

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Why these factors cannot change a weight of this shape; None when they can. Works on meta factors."""

    def remarks(self) -> tuple[str, ...]:
        """What is legal but worth a word. Works on meta factors."""

    def delta(self, base: Tensor) -> Tensor:
        """ΔW at strength 1 for the pristine weight ``base``: fp32, its shape, on its device (not meta)."""

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """What the layer's output gains at strength 1: ``layer(x) + beside(x, layer)`` is the layer with W + ΔW."""

    def factors(self) -> Factors | None:
        """The change as a pair of low rank, or None when it is not one."""

    def rows(self, take: Rows, total: int) -> Algorithm:
        """The part of the change that falls on some rows of a weight of ``total`` rows: of a fused q, k, v on q alone.

        Raises AdapterDoesNotFit where the part cannot be told without the whole weight.
        """


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a module beside its factors.

    ``dialect`` says whose reading holds where the same keys mean different things: "kohya", "peft", "onetrainer";
    empty is the common one. ``options`` are the module's scalar leaves other than alpha (``on_input`` …) and the fields
    of a PEFT config that change the formula.
    """

    alpha: float | None = None
    dialect: str = ""
    options: Mapping[str, float | int | bool | str] = field(default_factory=dict)


NO_FACTS = Facts()
Reader = Callable[[Mapping[str, Tensor], Facts], Algorithm]


def _any_shapes(_shapes: Mapping[str, Shape]) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One entry of ALGORITHMS: a group of leaves is of this kind when it has all leaves of one of ``needed`` and none
    but those and ``optional``, and ``accepts`` their shapes.

    ``read`` takes the tensors by leaf (scalar leaves are in the Facts) and raises AdapterDoesNotFit when they do not
    belong together. ``additive``: the change does not look at the weight, so a DoRA magnitude may stand beside it.
    ``also`` are leaves that it reads but leaves to another part, without which it is not chosen.
    """

    name: str
    needed: tuple[frozenset[str], ...]
    read: Reader
    optional: frozenset[str] = frozenset()
    also: frozenset[str] = frozenset()
    scalars: frozenset[str] = frozenset({"alpha"})  # scalar leaves that it understands
    whole_numbers: frozenset[str] = frozenset()  # leaves that are indices and not factors
    parameter: Parameter = "weight"
    additive: bool = False
    silent_at_zero: bool = True  # whether an alpha of 0 means no effect (for OFT it means no limit)
    accepts: Callable[[Mapping[str, Shape]], bool] = _any_shapes


def tensors_of(record: object) -> Iterator[Tensor]:
    """Every factor of a record and of the records inside it."""
    if isinstance(record, Tensor):
        yield record
    elif isinstance(record, tuple):
        for one in record:
            yield from tensors_of(one)
    elif is_dataclass(record):
        for own in fields(record):
            yield from tensors_of(getattr(record, own.name))
