"""Swap: the way back. A changed tensor is other memory that a Parameter points to; the pristine memory is never
written, and pointing back to it is all that an unload does. The Parameter objects stay the same throughout. Where there
is no room for that, ``lora/reread.py`` takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from sakuga.errors import SakugaError
from sakuga.lora.algorithms.columns import widened
from sakuga.lora.stored import version_of, width_of
from sakuga.lora.targets import Target
from sakuga.tensors.seat import Shape

SHOWN = 5  # how many layers an error lists
FITS = "there is room for it"


class Swap:
    """One target and its pristine memory. A bias that the layer has not is grown, and taken away again."""

    way: ClassVar[str] = "kept copy"  # where the pristine bytes come from

    def __init__(self, target: Target, why: str = FITS) -> None:
        self.target, self.why = target, why
        self._pristine = tuple(_alias(own) for own in target.parameters)
        self._given: Tensor | None = None
        self._grown: nn.Parameter | None = None
        self._version: int | None = None
        self._inputs: list[tuple[nn.Module, str, int]] = []  # the layers that take more now, and their own numbers

    @property
    def pristine(self) -> Tensor:
        """The weight as it was; zeros for a bias that is grown."""
        if self._pristine:
            return self._pristine[0]
        weight = self.target.holders[0].module.weight
        assert isinstance(weight, Tensor)
        with torch.inference_mode(weight.is_inference()):
            return torch.zeros(self.target.shape, dtype=weight.dtype, device=weight.device)

    def memory(self, reuse: bool, shape: Shape) -> tuple[Tensor, Tensor]:
        """The pristine numbers, with columns of zeros up to ``shape``, and memory for the changed ones: that which is
        given already, or new.
        """
        pristine, given = self.pristine, self._given
        with torch.inference_mode(pristine.is_inference()):
            pristine = widened(pristine, shape)
        reuse = reuse and given is not None and given.shape == pristine.shape
        return pristine, given if reuse and given is not None else _fresh_like(pristine)

    @property
    def given(self) -> Tensor | None:
        """The memory that the layers see now; None: their own."""
        return self._given

    def give(self, changed: Tensor) -> None:
        """Let the layers see ``changed``, which has the memory layout of the weight."""
        self._given = changed
        if not self._pristine:
            with torch.inference_mode(changed.is_inference()):
                self._grown = nn.Parameter(changed, requires_grad=False)
            for holder in self.target.holders:
                holder.module._parameters["bias"] = self._grown
        for own in self.target.parameters:
            _point(own, changed)
        self._say_inputs(changed)
        self._version = self._seen()

    def back(self) -> tuple[str, ...]:
        """Let the layers see their own memory again. May be repeated; does nothing where nothing was given.

        Returns the names of layers whose weight was replaced or cast meanwhile.
        """
        if self._given is None:
            return ()
        lost = self._lost() if self._pristine or self._grown is not None else ()
        for own, pristine in zip(self.target.parameters, self._pristine, strict=True):
            _point(own, pristine)
            self._say_inputs(pristine)
        if self._grown is not None:
            for holder in self.target.holders:
                if holder.module._parameters.get("bias") is self._grown:
                    holder.module._parameters["bias"] = None
        self._given = self._grown = None
        return lost

    @property
    def written(self) -> bool:
        """Whether somebody wrote into the changed memory."""
        return self._given is not None and self._version != self._seen()

    def _seen(self) -> int | None:
        own = self.target.parameters[0] if self._pristine else None
        return None if own is None else version_of(own)

    def _say_inputs(self, weight: Tensor) -> None:
        """Let the layers say as many inputs as ``weight`` has while that is wider than their own; afterwards their own
        number again.
        """
        wider = bool(self._pristine) and weight.shape != self._pristine[0].shape
        if wider and not self._inputs:
            layers = [holder.module for holder in self.target.holders]
            named = [(layer, name) for layer in layers if (name := width_of(layer)) is not None]
            self._inputs = [(layer, name, getattr(layer, name)) for layer, name in named]
        for layer, name, own in self._inputs:
            setattr(layer, name, weight.shape[1] if wider else own)
        self._inputs = self._inputs if wider else []

    def _lost(self) -> tuple[str, ...]:
        known = self.target.parameters if self._grown is None else (self._grown,)
        given = self._given
        assert given is not None
        lost = []
        for holder in self.target.holders:
            own = holder.module._parameters.get(self.target.kind)
            ours = any(own is one for one in known)
            if not ours or own is None or own.dtype != given.dtype or own.device != given.device:
                lost.append(holder.name)
        return tuple(lost)


def lost_weights(names: Sequence[str]) -> SakugaError:
    """The error of weights that somebody replaced or cast."""
    return SakugaError(
        "weights were replaced or cast while adapters were applied",
        given=some(sorted(set(names))),
        expected="the same Parameter in the same format until the with block is over",
        do="leave the with block before a part is moved, cast or loaded anew. A weight that was cast has its "
        "first bytes in its first format again; one that was replaced is the new one",
    )


def some(names: Sequence[str]) -> str:
    """The first names of a list."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _fresh_like(pristine: Tensor) -> Tensor:
    """New memory of the same layout, an inference tensor where that is one."""
    with torch.inference_mode(pristine.is_inference()):
        return torch.empty_like(pristine)


def _alias(own: nn.Parameter) -> Tensor:
    with torch.inference_mode(own.is_inference()):
        return own.data


def _point(own: nn.Parameter, to: Tensor) -> None:
    """Let a Parameter point to other memory, as an inference tensor where it is one."""
    with torch.inference_mode(own.is_inference()):
        own.data = to
        if version_of(own) is not None:
            increment_version(own)  # so that a backward pass that saw the other numbers says so
