"""Frames beside and below one another, for people to compare: pure arrays in and out, labels in plain letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAPER, INK = 255, 24
GAP = 6  # pixels between the pictures of a sheet
LABEL_SHARE = 12  # a label's strip is this share of the picture's height, within the limits below
LABEL_HEIGHTS = (20, 48)


def beside(*frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames (height, width, 3) from left to right without a gap; lower ones are centred on white."""
    assert frames
    height = max(frame.shape[0] for frame in frames)
    columns = []
    for frame in frames:
        above = (height - frame.shape[0]) // 2
        around = ((above, height - frame.shape[0] - above), (0, 0), (0, 0))
        columns.append(np.pad(frame, around, constant_values=PAPER))
    return np.concatenate(columns, axis=1)


def contact_sheet(rows: Sequence[Sequence[NDArray[np.uint8]]], labels: Sequence[str]) -> NDArray[np.uint8]:
    """Rows of frames (height, width, 3) on white, each row below its label; shorter rows end early.

    Labels are drawn in ASCII; other letters become question marks. One that is too long is drawn smaller.
    """
    assert len(rows) == len(labels) and rows and all(rows)
    strips = [_row(row) for row in rows]
    width = max(strip.shape[1] for strip in strips) + 2 * GAP
    height = max(frame.shape[0] for row in rows for frame in row)
    label_height = min(max(height // LABEL_SHARE, LABEL_HEIGHTS[0]), LABEL_HEIGHTS[1])
    parts = []
    for strip, label in zip(strips, labels, strict=True):
        around = ((0, GAP), (GAP, width - GAP - strip.shape[1]), (0, 0))
        parts += [_label(label, width, label_height), np.pad(strip, around, constant_values=PAPER)]
    return np.concatenate(parts, axis=0)


def grid_sheet(
    rows: Sequence[Sequence[NDArray[np.uint8]]], columns: Sequence[str], labels: Sequence[str], title: str = ""
) -> NDArray[np.uint8]:
    """A table of frames (height, width, 3) of one size on white: a label above each column, one above each row.

    Letters that are not ASCII become question marks. A label that is too long is drawn smaller.
    """
    assert rows and all(len(row) == len(columns) for row in rows) and len(rows) == len(labels)
    height, width = rows[0][0].shape[:2]
    label_height = min(max(height // LABEL_SHARE, LABEL_HEIGHTS[0]), LABEL_HEIGHTS[1])
    whole = len(columns) * (width + GAP) + GAP
    parts = [_label(title, whole, label_height)] if title else []
    if any(columns):
        heads = [_label(text, width + GAP, label_height) for text in columns]
        parts.append(np.pad(beside(*heads), ((0, 0), (0, GAP), (0, 0)), constant_values=PAPER))
    for row, label in zip(rows, labels, strict=True):
        if label:
            parts.append(_label(label, whole, label_height))
        parts.append(np.pad(_row(row), ((0, GAP), (GAP, GAP), (0, 0)), constant_values=PAPER))
    return np.concatenate(parts, axis=0)


def _row(frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    spaced = [np.pad(frame, ((0, 0), (0, GAP), (0, 0)), constant_values=PAPER) for frame in frames]
    return beside(*spaced)[:, :-GAP]


def _label(text: str, width: int, height: int) -> NDArray[np.uint8]:
    """A white strip with the text in it, as large as the strip lets it be."""
    import cv2

    plain = text.encode("ascii", "replace").decode()
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, max(1, height // 20)
    (_, unit_height), below = cv2.getTextSize("Ag", font, 1.0, thickness)  # alike for every label of a sheet
    unit_width = max(1, cv2.getTextSize(plain, font, 1.0, thickness)[0][0])
    scale = min(0.7 * height / (unit_height + below), (width - 2 * GAP) / unit_width)
    strip = np.full((height, width, 3), PAPER, np.uint8)
    base = round((height + scale * (unit_height - below)) / 2) + 1
    return np.asarray(cv2.putText(strip, plain, (GAP, base), font, scale, (INK, INK, INK), thickness, cv2.LINE_AA))
