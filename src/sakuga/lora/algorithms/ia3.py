"""IA3: every row or every column of the weight multiplied by its own number.

LyCORIS stores the number's difference from 1 and says the side; PEFT stores the number itself, the side is in its
shape, and where it multiplies the output it multiplies the bias too. Source: Liu et al., "Few-Shot Parameter-Efficient
Fine-Tuning is Better and Cheaper than In-Context Learning" (2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.dense import per_channel
from sakuga.lora.algorithms.layers import of_input, of_output, output_with, weight_of
from sakuga.lora.algorithms.record import Algorithm, Facts, Kind, Rows, Shape
from sakuga.lora.algorithms.rows import check_rows, taken

Side = Literal["rows", "columns", "either"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ia3:
    """``gain`` [n] are the numbers, less 1 where ``centre`` is 1. ``side`` "either": the side of n features, that of
    the rows where both have n.
    """

    gain: Tensor
    centre: float
    side: Side
    needs_base: ClassVar[bool] = True
    rank: ClassVar[None] = None

    def _axis(self, shape: tuple[int, ...]) -> int | None:
        """The dimension of the weight that is multiplied, or None."""
        among = {"rows": (0,), "columns": (1,), "either": (0, 1)}[self.side]
        return next((axis for axis in among if len(shape) >= 2 and shape[axis] == len(self.gain)), None)

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Why a weight of this shape cannot be changed."""
        if self._axis(shape) is None:
            side = "rows or columns" if self.side == "either" else self.side
            return f"its weight is {list(shape)}, the adapter scales {len(self.gain)} {side}"
        return None

    def remarks(self) -> tuple[str, ...]:
        """A side that the file does not tell."""
        guessed = "IA3 of a convolution with as many inputs as outputs is taken as one of its outputs"
        return (guessed,) if self.side == "either" else ()

    def delta(self, base: Tensor) -> Tensor:
        """W ∘ (l − 1) along its axis."""
        shape = [1] * base.ndim
        shape[self._axis(tuple(base.shape)) or 0] = -1
        return base.float() * self._difference(base).reshape(shape)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """The layer's output or input multiplied."""
        weight = weight_of(layer)
        if self._axis(tuple(weight.shape)) == 0:
            return of_output(x, layer, lambda y: y * self._difference(y).to(y.dtype))
        if getattr(layer, "groups", 1) != 1:
            return output_with(x, layer, self.delta(weight))
        return of_input(x, layer, lambda features: features * self._difference(features).to(features.dtype))

    def factors(self) -> None:
        """None: the change is not of low rank."""

    def rows(self, take: Rows, total: int) -> Algorithm:
        """These rows' numbers, or all of the columns'. Raises AdapterDoesNotFit where the side is not known."""
        check_rows(take, total)
        if self.side == "either" and len(self.gain) != total:
            return replace(self, side="columns")
        return self if self.side == "columns" else replace(self, side="rows", gain=taken(self.gain, take, total))

    def _difference(self, like: Tensor) -> Tensor:
        return self.gain.to(like.device).float() - self.centre


@dataclass(frozen=True, kw_only=True, eq=False)
class Ia3Bias:
    """What PEFT's IA3 on a layer's output does to the bias: nothing where ``weight`` multiplies the columns."""

    weight: Ia3
    needs_base: ClassVar[bool] = True
    rank: ClassVar[None] = None

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Why a bias of this shape cannot be changed."""
        if len(shape) != 1 or (self.weight.side == "rows" and len(self.weight.gain) != shape[0]):
            return f"its bias is {list(shape)}, the adapter scales {len(self.weight.gain)} features"
        return None

    def remarks(self) -> tuple[str, ...]:
        """None beside those of the weight."""
        return ()

    def delta(self, base: Tensor) -> Tensor:
        """b ∘ (l − 1)."""
        on_rows = self.weight.side != "columns" and len(self.weight.gain) == len(base)
        return base.float() * (self.weight._difference(base) if on_rows else 0.0)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """The change of the bias, for every position of the output; nothing where there is none."""
        bias = layer.bias
        return per_channel(self.delta(bias), x, layer) if isinstance(bias, Tensor) else x.new_zeros(())

    def factors(self) -> None:
        """None: a bias has none."""

    def rows(self, take: Rows, total: int) -> Algorithm:
        """That of these rows."""
        part = self.weight.rows(take, total)
        assert isinstance(part, Ia3)
        return Ia3Bias(weight=part)


def _zero_centred(tensors: Mapping[str, Tensor], facts: Facts) -> Ia3:
    """LyCORIS: [n], or [1, n, 1 …] on a convolution, for both sides."""
    weight = tensors["weight"]
    if tuple(weight.shape) != (weight.numel(),) and weight.shape[1:2] != (weight.numel(),):
        raise AdapterDoesNotFit(f"weight is {list(weight.shape)}, not one number for each feature")
    side: Side = "columns" if facts.options.get("on_input") else "rows"
    return Ia3(gain=weight.reshape(-1), centre=0.0, side=side)


def _one_centred(tensors: Mapping[str, Tensor], facts: Facts) -> Ia3:
    """PEFT: [out, 1] or [1, in] on a Linear; [1, n, 1 …] on a convolution, for both sides."""
    gain = tensors["ia3_l"]
    shape, count = tuple(gain.shape), gain.numel()
    if len(shape) < 2 or count not in shape[:2] or (len(shape) > 2 and shape[1] != count):
        raise AdapterDoesNotFit(f"ia3_l is {list(shape)}, not one number for each feature")
    side: Side = "rows" if shape[0] == count else "columns"
    if len(shape) > 2:
        told = facts.options.get("feedforward")
        side = "either" if told is None else "columns" if told else "rows"
    return Ia3(gain=gain.reshape(-1), centre=1.0, side=side)


def _bias(tensors: Mapping[str, Tensor], facts: Facts) -> Ia3Bias:
    return Ia3Bias(weight=_one_centred(tensors, facts))


def _read(tensors: Mapping[str, Tensor], facts: Facts) -> Ia3:
    return _one_centred(tensors, facts) if "ia3_l" in tensors else _zero_centred(tensors, facts)


def _has_side(shapes: Mapping[str, Shape]) -> bool:
    return "ia3_l" in shapes or "on_input" in shapes


def _may_scale_the_bias(shapes: Mapping[str, Shape]) -> bool:
    """Not where the shape says that the columns are multiplied."""
    shape = shapes.get("ia3_l", ())
    return len(shape) > 2 or (len(shape) == 2 and shape[1] == 1)


KIND = Kind(
    name="IA3",
    needed=(frozenset({"ia3_l"}), frozenset({"weight"})),
    scalars=frozenset({"alpha", "on_input"}),  # an alpha means nothing here
    silent_at_zero=False,
    read=_read,
    accepts=_has_side,
)
BIAS_KIND = Kind(
    name="IA3 of the bias",
    needed=(frozenset(),),
    also=frozenset({"ia3_l"}),
    read=_bias,
    parameter="bias",
    accepts=_may_scale_the_bias,
    silent_at_zero=False,
)
