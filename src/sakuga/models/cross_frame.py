"""Cross-frame attention: in a UNet's self-attention the frames of a batch look at each other, so that they agree.

The pixels of up to ``extent`` neighbouring frames become one sequence. Attention to the text is left as it is: with one
text for all frames it would give the same. As DiffSynth 1.x; it stays out of ControlNets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention


class CrossFrame:
    """Self-attention over frames at work. ``frames`` says how many frames the rows of the next call are.

    The UNet's rows must be [halves · frames], the frames of a half one after another; each group of at most ``extent``
    of them is one sequence, halves never meet.
    """

    def __init__(self, extent: int) -> None:
        self.extent, self.frames = extent, 0

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Answer for ``attn``: [rows, pixels, C] in and out. Projections see plain rows, as live adapters need them."""
        assert encoder_hidden_states is None and attention_mask is None, "this layer looks at itself and at all of it"
        assert self.frames > 0, "say how many frames there are before the UNet is called"
        query, key, value = (
            project(hidden_states).unflatten(0, (-1, self.frames)).unflatten(-1, (attn.heads, -1))
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )  # [halves, frames, pixels, heads, C / heads]
        groups = (part.split(self.extent, dim=1) for part in (query, key, value))
        mixed = torch.cat([_together(*group) for group in zip(*groups, strict=True)], dim=1)
        answer: Tensor = attn.to_out[0](mixed.flatten(0, 1))
        return answer


def _together(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention [halves, frames, pixels, C] over all frames and pixels of a group at once."""
    frames = query.shape[1]
    query, key, value = (part.flatten(1, 2).transpose(1, 2) for part in (query, key, value))
    mixed = functional.scaled_dot_product_attention(query, key, value)
    return mixed.transpose(1, 2).flatten(2).unflatten(1, (frames, -1))


@contextmanager
def cross_framed(unet: nn.Module, extent: int) -> Iterator[CrossFrame]:
    """Give every self-attention of ``unet`` (a diffusers UNet2DConditionModel) the frames around; take it away again.

    Set ``frames`` of what this gives before each call of the UNet.
    """
    cross = CrossFrame(extent)
    layers = [module for name, module in unet.named_modules() if name.endswith(".attn1")]
    before = [layer.processor for layer in layers]
    try:
        for layer in layers:
            layer.set_processor(cross)
        yield cross
    finally:
        for layer, processor in zip(layers, before, strict=True):
            layer.set_processor(processor)
