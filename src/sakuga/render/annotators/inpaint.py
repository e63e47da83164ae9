"""Inpaint: the frame itself, with nothing masked: the whole picture is known. Refuses to take a mask."""

from __future__ import annotations

from sakuga.render.annotators.tile import draw

__all__ = ["draw"]
