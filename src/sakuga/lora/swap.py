"""Swap: the way back. A changed tensor is other memory that a Parameter points to; the pristine memory is never
written, and pointing back to it is all that an unload does. The Parameter objects stay the same throughout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from sakuga.lora.targets import Target


class Swap:
    """One target and its pristine memory. A bias that the layer has not is grown, and taken away again."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._pristine = tuple(_alias(own) for own in target.parameters)
        self._given: Tensor | None = None
        self._grown: nn.Parameter | None = None
        self._version: int | None = None

    @property
    def pristine(self) -> Tensor:
        """The weight as it was; zeros for a bias that is grown."""
        if self._pristine:
            return self._pristine[0]
        weight = self.target.holders[0].module.weight
        assert isinstance(weight, Tensor)
        with torch.inference_mode(weight.is_inference()):
            return torch.zeros(self.target.shape, dtype=weight.dtype, device=weight.device)

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
        return None if own is None or own.is_inference() else own._version

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


def fresh_like(pristine: Tensor) -> Tensor:
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
        if not own.is_inference():
            increment_version(own)  # so that a backward pass that saw the other numbers says so
