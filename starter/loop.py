"""The training loop that every stage shares: AdamW, cosine rate, moving average, a save each minute, resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One stage: where it is kept, how long it trains (in samples) and how fast it learns."""

    name: str
    folder: Path
    samples: int
    batch: int
    rate: float
    average: float = 0.998
    warm_up: int = 50  # steps
    final_rate: float = 0.05  # share of ``rate`` that is left at the end


def train(
    plan: Plan,
    modules: dict[str, nn.Module],
    loss_of: Callable[[int], Tensor],
    parameters: list[Tensor] | None = None,
    factors: dict[str, float] | None = None,
) -> None:
    """Train ``modules`` until ``plan.samples`` are done; they hold the moving average afterwards.

    ``loss_of(batch)`` draws its own samples; ``factors`` multiply the rate of a module. A checkpoint beside the stage
    lets a killed run go on, and a larger ``samples`` lets a finished one be continued.
    """
    parameters = parameters or [p for m in modules.values() for p in m.parameters() if p.requires_grad]
    groups = _groups(modules, parameters, factors or {})
    optimiser = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    averaged = [p.detach().clone() for p in parameters]
    path = plan.folder / f"{plan.name}.train.pt"
    step = 0
    if path.exists():
        # Our own checkpoint, written below; nothing foreign is ever read this way.
        saved = torch.load(path, weights_only=True)
        with torch.no_grad():
            for p, value in zip(parameters, saved["parameters"], strict=True):
                p.copy_(value)
        averaged, step = saved["averaged"], saved["step"]
        if len(saved["optimiser"]["param_groups"]) == len(groups):
            optimiser.load_state_dict(saved["optimiser"])
    steps = plan.samples // plan.batch
    started = saved_at = told_at = time.time()
    first, recent = step, []
    while step < steps:
        share = step / steps
        rate = plan.rate * (plan.final_rate + (1 - plan.final_rate) * (1 + math.cos(math.pi * share)) / 2)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["factor"] * min(1.0, (step + 1) / plan.warm_up)
        loss = loss_of(plan.batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        keep = min(plan.average, (1 + step) / (10 + step))
        torch._foreach_lerp_(averaged, [p.detach() for p in parameters], 1 - keep)
        recent.append(float(loss.detach()))
        now = time.time()
        if now - told_at > 20 or step == steps:
            pace = (step - first) * plan.batch / (now - started)
            left = (steps - step) * plan.batch / pace
            print(
                f"{plan.name} {step}/{steps} loss {sum(recent) / len(recent):.4f} {pace:.1f}/s, {left:.0f} s left",
                flush=True,
            )
            told_at, recent = now, []
        if now - saved_at > 60 or step == steps:
            state = {"parameters": parameters, "averaged": averaged, "step": step, "optimiser": optimiser.state_dict()}
            _save(state, path)
            saved_at = now
    with torch.no_grad():
        for p, value in zip(parameters, averaged, strict=True):
            p.copy_(value)


def _save(state: dict[str, object], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


def _groups(
    modules: dict[str, nn.Module], parameters: list[Tensor], factors: dict[str, float]
) -> list[dict[str, object]]:
    """The parameters by the factor on their rate."""
    factor_of = {id(p): factors[name] for name in factors for p in modules[name].parameters()}
    by_factor: dict[float, list[Tensor]] = {}
    for parameter in parameters:
        by_factor.setdefault(factor_of.get(id(parameter), 1.0), []).append(parameter)
    return [{"params": found, "factor": factor} for factor, found in by_factor.items()]
