"""ControlNets: what pictures say about a frame, added to the UNet's skip connections.

What they say depends on the frame, the step and the half, never on the window; so each such row is computed once and
kept while windows still ask for it. Refuses to run a ControlNet whose scale is 0, so that scale 0 costs and changes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sakuga.render.denoisers import Call, Half, Predictor, Residuals, Texts
from sakuga.render.denoisers.predict import Predict, timestep

Row = tuple[Half, int]


@dataclass(frozen=True, kw_only=True)
class Control:
    """A ControlNet in use. ``pictures``: [F, 3, H, W] in 0 … 1, one for each frame of the Span.

    ``scale(step, frame)`` is how loud it is for a step and a frame of the Span; ``steady`` makes the usual one.
    """

    net: nn.Module
    pictures: Tensor
    scale: Callable[[int, int], float]


def steady(scale: float, steps: int, start: float = 0.0, end: float = 1.0) -> Callable[[int, int], float]:
    """The same scale for every step that lies wholly within the share ``start`` … ``end`` of the steps, and 0 outside.

    Step i of n lies within when i/n ≥ start and (i + 1)/n ≤ end, as in diffusers.
    """
    return lambda step, _frame: scale if step / steps >= start and (step + 1) / steps <= end else 0.0


def controlled(predict: Predict, controls: Sequence[Control], texts: Texts, batch: int = 4) -> Predictor:
    """Add up what all ``controls`` say and hand it to ``predict``; at most ``batch`` rows visit a ControlNet at once.

    Memory: only the rows of the last call are kept (for SD 1.5 at 512 x 512 about 13 MB a row in fp16), so a long Span
    needs no more than a window of them. That is enough, because within a step windows rise.
    """
    kept: dict[Row, list[Tensor]] = {}
    at: dict[tuple[Half, ...], tuple[int, int]] = {}  # step and first frame of the last call for these halves

    def ask(x: Tensor, call: Call) -> Tensor:
        nonlocal kept
        active = [c for c in controls if any(c.scale(call.step, frame) for frame in call.frames)]
        if not active:
            return predict(x, call)
        step, first = at.get(call.halves, (-1, -1))
        rising = call.step == step and call.frames.start > first  # if not, this is another x: what was kept is stale
        at[call.halves] = (call.step, call.frames.start)
        rows = call.rows
        wanted = set(rows) if rising else set()
        kept = {row: said for row, said in kept.items() if row in wanted or row[0] not in call.halves}
        missing = [number for number, row in enumerate(rows) if row not in kept]
        for some in (missing[i : i + batch] for i in range(0, len(missing), batch)):
            fresh = [rows[number] for number in some]
            parts = _sum(active, x[some], call, fresh, texts)
            kept |= {row: [part[number] for part in parts] for number, row in enumerate(fresh)}
        stacked = [torch.stack(parts) for parts in zip(*(kept[row] for row in rows), strict=True)]
        residuals: Residuals = (stacked[:-1], stacked[-1])
        return predict(x, call, residuals)

    return ask


@torch.no_grad()
def _sum(controls: Sequence[Control], x: Tensor, call: Call, rows: Sequence[Row], texts: Texts) -> list[Tensor]:
    """What the controls say about some rows, each at its scale, added up: a tensor for each skip, the middle last."""
    total: list[Tensor] = []
    for control in controls:
        weight = next(control.net.parameters())
        own = x.to(device=weight.device, dtype=weight.dtype)
        down, middle = control.net(
            own,
            timestep(call.level, own),
            encoder_hidden_states=texts.of([half for half, _ in rows], own),
            controlnet_cond=control.pictures[[frame for _, frame in rows]].to(own),
            return_dict=False,
        )
        scales = torch.tensor([control.scale(call.step, frame) for _, frame in rows]).to(own)[:, None, None, None]
        said = [scales * part for part in (*down, middle)]
        total = said if not total else [a + b.to(a) for a, b in zip(total, said, strict=True)]
    return total
