"""Live: a layer keeps its weights and adds to its output what its adapters would have changed, Σ s · beside(x, layer).

A strength may differ between the rows of a batch. All adapters of low rank of a layer are one pair of thin products, so
eight of them cost what their ranks sum to. The way in is the layer's ``forward``: hooks that are added to a module that
torch.compile has seen already are not called, a new ``forward`` is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sakuga.errors import SakugaError
from sakuga.lora.algorithms import Algorithm
from sakuga.lora.algorithms.dense import Conv
from sakuga.lora.algorithms.full import Full
from sakuga.lora.algorithms.record import Parameter, tensors_of
from sakuga.lora.algorithms.tlora import TLora
from sakuga.lora.plan import is_dense
from sakuga.lora.rows import Strength, Strengths, scale_of, scaled
from sakuga.lora.stored import growable, numbers_of, stored_shape, unwritable
from sakuga.lora.targets import Holder, Use

ABSENT: Any = object()  # where an instance had no ``forward`` of its own
Active = list[tuple[int, Strength]]  # which of the changes, and how strong


@dataclass(frozen=True, kw_only=True, eq=False)
class Beside:
    """One change of a layer: of its weight or its bias."""

    kind: Parameter
    use: Use


@dataclass(frozen=True, kw_only=True, eq=False)
class _Thin:
    """The factors of the changes ``of`` side by side, for inputs like ``like``, and the ranks of each."""

    of: tuple[int, ...]
    up: Tensor
    down: Tensor
    ranks: tuple[int, ...]


class LiveLayer:
    """A layer with its adapters beside it, from ``attach`` to ``detach``."""

    def __init__(self, holder: Holder, besides: Sequence[Beside], strengths: Strengths, *, motion: bool) -> None:
        self._holder, self._layer, self._besides = holder, holder.module, tuple(besides)
        self._strengths, self._motion = strengths, motion
        self._thin: _Thin | None = None
        self._scale: tuple[object, Tensor] | None = None
        self._before: Any = ABSENT
        self._inner: Callable[..., Any] = holder.module.forward
        self._entry: Callable[..., Any] = self._forward
        self._attached = False

    def attach(self) -> None:
        """Put this layer's adapters beside it. May be repeated."""
        if not self._attached:
            own = self._layer.__dict__
            self._before, self._inner = own.get("forward", ABSENT), self._layer.forward
            self._attached = True
            own["forward"] = self._entry

    def detach(self) -> None:
        """Give the layer its own ``forward`` back. May be repeated. One that somebody wrapped meanwhile stays wrapped,
        and from here on nothing is added in it.
        """
        own = self._layer.__dict__
        if own.get("forward") is self._entry:
            if self._before is ABSENT:
                del own["forward"]
            else:
                own["forward"] = self._before
        self._attached = False
        self._thin = self._scale = None

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Raise SakugaError: a layer that is copied or pickled with this in it would carry its adapters for ever."""
        raise SakugaError(
            "a part whose layers have adapters beside them cannot be copied or pickled",
            given=self._holder.name,
            expected="a part that carries no applied stack",
            do="leave the with block first; state_dict() may be taken at any time",
        )

    @property
    def nbytes(self) -> int:
        """The bytes of the factors, and of whole changes, that are kept for the next call."""
        thin = self._thin.up.nbytes + self._thin.down.nbytes if self._thin else 0
        records = self.__dict__.get("_records", ())  # not looked up before the first call
        return thin + sum(
            record.diff.nbytes
            for record, beside in zip(records, self._besides, strict=False)
            if record is not beside.use.record and isinstance(record, Full)
        )

    def _forward(self, input: Tensor, *more: Any) -> Any:  # torch calls it so: a layer may be given it by name
        output = self._inner(input, *more)
        if not self._attached:
            return output
        named = ((index, self._strengths.of(one.use, self._holder.name)) for index, one in enumerate(self._besides))
        active: Active = [(index, strength) for index, strength in named if strength is not None]
        thin = [(index, strength) for index, strength in active if index in self._pairs]
        if thin:
            output = self._add_thin(input, output, thin)
        for index, strength in active:
            if index not in self._pairs:
                output = self._add(input, output, index, strength)
        return output

    @cached_property
    def _records(self) -> tuple[Algorithm, ...]:
        """The records. What looks at the base looks at it once for all calls, unless its factors are being trained."""
        with _lasting():
            return tuple(self._grounded(beside) for beside in self._besides)

    def _grounded(self, beside: Beside) -> Algorithm:
        record = beside.use.record
        if isinstance(record, TLora):
            return record.grounded(self._rows_of(beside, numbers_of(self._layer, beside.kind)))
        trained = any(tensor.requires_grad for tensor in tensors_of(record))
        if beside.kind != "weight" or not is_dense(record) or trained:
            return record
        with torch.no_grad():
            return Full(diff=record.delta(self._rows_of(beside, numbers_of(self._layer, beside.kind))))

    @cached_property
    def _pairs(self) -> frozenset[int]:
        """The changes that are pairs of low rank which can run beside this kind of layer."""
        thin = isinstance(self._layer, Conv) and self._layer.groups == 1
        if not thin and not _is_linear(self._layer):
            return frozenset()
        of_weight = (index for index, beside in enumerate(self._besides) if beside.kind == "weight")
        return frozenset(index for index in of_weight if self._records[index].factors() is not None)

    def _add_thin(self, x: Tensor, output: Tensor, active: Active) -> Tensor:
        thin = self._side_by_side(tuple(index for index, _ in active), x)
        key = (self._strengths.version, thin.of, x.dtype, x.device)
        if self._scale is None or self._scale[0] != key:
            with _lasting():
                self._scale = key, scale_of([strength for _, strength in active], thin.ranks, x)
        scale, name, layer = self._scale[1], self._holder.name, self._layer
        if not isinstance(layer, Conv):
            inner = scaled(F.linear(x, thin.down), scale, axis=-1, motion=self._motion, layer=name)
            if inner.ndim == 1 or inner.dtype != output.dtype or not output.is_contiguous():
                return output + F.linear(inner, thin.up).to(output.dtype)
            add = torch.Tensor.addmm_ if self._may_write(output) else torch.addmm
            return add(output.flatten(0, -2), inner.flatten(0, -2), thin.up.T).view(output.shape)
        spatial = len(layer.kernel_size)
        inner = layer._conv_forward(x, thin.down, None)
        inner = scaled(inner, scale, axis=-spatial - 1, motion=self._motion, layer=name)
        gain = torch.matmul(thin.up, inner.flatten(-spatial)).reshape(output.shape)
        return output.add_(gain) if self._may_write(output) else output + gain.to(output.dtype)

    def _may_write(self, output: Tensor) -> bool:
        """Whether an output is surely nobody else's: torch's own layers make a new one in every call."""
        plain = self._before is ABSENT and type(self._layer) in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
        return plain and not torch.is_grad_enabled() and not output.requires_grad

    def _side_by_side(self, of: tuple[int, ...], x: Tensor) -> _Thin:
        """The factors of the changes ``of``, in the format and on the device of ``x``; kept for the next call."""
        thin = self._thin
        if thin is not None and (thin.of, thin.down.dtype, thin.down.device) == (of, x.dtype, x.device):
            return thin
        shape = stored_shape(self._layer, "weight")
        assert shape is not None
        ups, downs = [], []
        with _lasting():
            for index in of:
                pair = self._records[index].factors()
                assert pair is not None
                up, down = _balanced(pair.up, pair.down_for(shape))
                first, end = self._besides[index].use.into or (0, shape[0])
                ups.append(F.pad(up, (0, 0, first, shape[0] - end)).to(x.device, x.dtype))
                downs.append(down.to(x.device, x.dtype))
            thin = _Thin(of=of, up=torch.cat(ups, 1), down=torch.cat(downs), ranks=tuple(up.shape[1] for up in ups))
        self._thin = None if thin.up.requires_grad or thin.down.requires_grad else thin
        return thin

    def _add(self, x: Tensor, output: Tensor, index: int, strength: Strength) -> Tensor:
        """The output with a change that is no pair."""
        beside = self._besides[index]
        record = self._records[index]
        gain = record.beside(x, self._twin(beside, record, x))
        if beside.use.into is not None:
            gain = self._at_rows(gain, beside.use.into)
        scale = scale_of([strength], [1], output)
        if scale.ndim > 1:
            gain = gain.expand_as(output)
        return output + scaled(gain.to(output.dtype), scale, axis=-1, motion=self._motion, layer=self._holder.name)

    def _twin(self, beside: Beside, record: Algorithm, x: Tensor) -> nn.Module:
        """The layer as a record sees it: its weights as numbers, of its rows alone where it means some rows.

        A record that looks only at the shape of a quantised weight is spared the numbers.
        """
        layer = self._layer
        to_grow = beside.kind == "bias" and growable(layer)
        if beside.use.into is None and not to_grow and not unwritable(layer, "weight"):
            return layer
        numbers: dict[str, Tensor | None] = {}
        for kind in ("weight", "bias"):
            shape = stored_shape(layer, kind)
            known = numbers_of(layer, kind) if record.needs_base else None
            if shape is None:
                numbers[kind] = None
            else:
                known = x.new_zeros((), dtype=torch.float32).expand(shape) if known is None else known
                numbers[kind] = self._rows_of(beside, known)
        return _shell(layer, numbers)

    def _rows_of(self, beside: Beside, tensor: Tensor | None) -> Tensor:
        assert tensor is not None
        return tensor if beside.use.into is None else tensor[slice(*beside.use.into)]

    def _at_rows(self, gain: Tensor, into: tuple[int, int]) -> Tensor:
        """The gain of some rows of the weight among all channels of the output."""
        shape = stored_shape(self._layer, "weight")
        assert shape is not None
        after = len(self._layer.kernel_size) if isinstance(self._layer, Conv) else 0
        return F.pad(gain, (0, 0) * after + (into[0], shape[0] - into[1]))


@contextmanager
def _lasting() -> Iterator[None]:
    """Tensors that are made inside may be used in any mode later, also where gradients are taken."""
    taken = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.set_grad_enabled(taken):
        yield


def _is_linear(layer: nn.Module) -> bool:
    """A Linear, or a quantised layer that stands for one."""
    return isinstance(layer, nn.Linear) or hasattr(layer, "_packed_params")


def _shell(layer: nn.Module, numbers: dict[str, Tensor | None]) -> nn.Module:
    """A module of the layer's kind and settings with other weights."""
    twin = copy.copy(layer) if isinstance(layer, nn.Linear | Conv) or not _is_linear(layer) else None
    if twin is None:
        twin = nn.Linear(1, 1, device="meta")
    own = {kind: None if value is None else nn.Parameter(value, requires_grad=False) for kind, value in numbers.items()}
    twin.__dict__["_parameters"] = own
    twin.__dict__.pop("forward", None)
    return twin


def _balanced(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """The same product with the two factors of each rank about equally large, by powers of two, which are exact: the
    small factors of some distilled adapters would not survive fp16.
    """
    sizes = [factor.detach().abs() for factor in (up.T, down.flatten(1))]
    above, below = (size.amax(1).clamp_min(torch.finfo(torch.float32).tiny) for size in sizes)
    shift = torch.exp2(((above.log2() - below.log2()) / 2).round())
    return up / shift, down * shift.reshape(-1, *[1] * (down.ndim - 1))
