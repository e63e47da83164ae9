"""None: the frame itself, for a ControlNet that was trained on pictures as they are. Refuses to change anything."""

from __future__ import annotations

from sakuga.render.annotators.tile import draw

__all__ = ["draw"]
