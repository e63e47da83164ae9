"""Windows over the frames of a Span, and how much each has to say about a frame. Numbers only: no model, no tensor.

A network that looks along time sees one window at a time; windows overlap and their answers are averaged, so that no
seam shows. Refuses a stride that would leave frames out. Source: Diffutoon (DiffSynth-Studio 1.x).
"""

from __future__ import annotations

from dataclasses import dataclass

from sakuga.errors import JobError

LEAST_WEIGHT = 0.01  # of the first and last frame of a window, so that a frame seen once still counts


@dataclass(frozen=True, kw_only=True)
class Window:
    """The frames ``start`` … ``stop`` - 1 of a Span."""

    start: int
    stop: int

    @property
    def frames(self) -> range:
        return range(self.start, self.stop)


def sliding(frame_count: int, length: int, stride: int) -> tuple[Window, ...]:
    """Windows of ``length`` at 0, stride, 2·stride …, up to the first that reaches the end, which is cut off there.

    Raises ``JobError`` unless 1 ≤ stride ≤ length.
    """
    if not 1 <= stride <= length:
        raise JobError(
            "the windows would leave frames out",
            given=f"window {length}, stride {stride}",
            expected="1 ≤ stride ≤ window",
            nearest=f"stride {max(1, length // 2)}",
            do="lower the stride",
        )
    windows = []
    for first in range(0, frame_count, stride):
        windows.append(Window(start=first, stop=min(first + length, frame_count)))
        if first + length >= frame_count:
            break
    return tuple(windows)


def batches(frame_count: int, size: int) -> tuple[Window, ...]:
    """Windows that do not overlap, for networks that see each frame alone: plain batches of at most ``size`` frames."""
    return sliding(frame_count, size, size)


def weights(length: int) -> tuple[float, ...]:
    """The say of each frame of a window: 1 in the middle, falling evenly to 0.01 at both ends."""
    middle = (length - 1) / 2
    slope = (length - 1 + LEAST_WEIGHT) / 2
    return tuple(max(1 - abs(i - middle) / slope, LEAST_WEIGHT) for i in range(length))


def shares(windows: tuple[Window, ...], frame_count: int) -> tuple[tuple[float, ...], ...]:
    """For each window the share of each of its frames in the weighted mean; a frame's shares add up to 1.

    A frame that one window alone sees has the share 1.0 exactly, so that it passes through unchanged.
    """
    totals = [0.0] * frame_count
    for window in windows:
        for frame, weight in zip(window.frames, weights(len(window.frames)), strict=True):
            totals[frame] += weight
    return tuple(
        tuple(weight / totals[frame] for frame, weight in zip(window.frames, weights(len(window.frames)), strict=True))
        for window in windows
    )
