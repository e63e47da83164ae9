"""Stable Diffusion 1.x, with every checkpoint that was tuned from it, and small models of the same build.

Defaults: guidance as the model's authors used it, 20 steps of DDIM as Diffutoon. With AnimateDiff's motion modules the
betas are linear, because those were trained so (as Diffutoon knew).
"""

from __future__ import annotations

from sakuga.models.family import Defaults, Family
from sakuga.models.schedule import Schedule

SD15 = Family(
    name="sd15",
    title="SD 1.5",
    heads=8,
    scaling_factor=0.18215,
    defaults=Defaults(sampler="ddim", steps=20, guidance=7.5, noise="frame"),
    schedule=Schedule.scaled_linear,
    motion_schedule=Schedule.linear,
)
