"""Stack: adapters in use, each with a weight for the image model and one for the text encoder, applied by ``with``.

Every change is computed from the pristine weight and summed in an order that comes from the adapters' contents, so a
stack gives the same bits however it was listed. It gets plain numbers: curves and jobs are evaluated elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from sakuga.lora.adapter import Adapter
from sakuga.lora.applied import Applied
from sakuga.lora.targets import bind
from sakuga.lora.weight import StackWeight

__all__ = ["Applied", "Stack", "StackWeight"]


@dataclass(frozen=True)
class Stack:
    """Adapters with their weights. One adapter may be in it twice; its changes then add up.

    >>> with Stack(((ink, StackWeight(unet=0.8)),)).applied({"unet": unet}) as applied:  # doctest: +SKIP
    ...     applied.set({"ink": StackWeight(unet=0.4)})
    """

    entries: tuple[tuple[Adapter, StackWeight], ...] = ()

    @contextmanager
    def applied(self, parts: Mapping[str, nn.Module]) -> Iterator[Applied]:
        """Change the weights of ``parts`` (component → module) for the length of the block.

        Everything is checked before anything is changed. Afterwards, also after an exception or Ctrl-C, every weight
        has the very same bytes in the same memory; only tensors that were changed are kept a copy of. The parts may be
        used under ``no_grad`` or ``inference_mode``; they must not be moved, cast or given other weights meanwhile.

        Raises AdapterDoesNotFit when an adapter does not fit, SakugaError when a part already carries a stack.
        """
        adapters = tuple(adapter for adapter, _ in self.entries)
        weights = tuple(weight for _, weight in self.entries)
        silent = {
            (entry, patch.component)
            for entry, (adapter, weight) in enumerate(self.entries)
            for patch in adapter.patches
            if weight.on(patch.component) == 0
        }
        targets = bind(adapters, parts, silent)
        applied = Applied(adapters=adapters, parts=parts, targets=targets, weights=weights)
        with applied.holding():
            yield applied
