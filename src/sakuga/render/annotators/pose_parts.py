"""Hands and faces of people whose joints are known: where to look, and the points that are found there.

Source: Simon et al. (2017) for the hands, with the boxes and thresholds of OpenPose's public form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sakuga.render.annotators.pose_body import Point, enlarged, padded_maps, smoothed
from sakuga.render.annotators.through import Maps, asked, resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

Box = tuple[int, int, int]  # left, top, side

ARMS = ((5, 6, 7), (2, 3, 4))  # shoulder, elbow, wrist: left, right
NOSE, SIDES = 0, ((14, 3.0), (15, 3.0), (16, 1.5), (17, 1.5))  # eyes and ears, with how far the face goes beyond
SMALLEST = 20  # pixels; nothing is found in less
HAND_POINTS, HAND_MAP, HAND_HEAT = 21, 128, 0.05
HAND_SIDES = (184, 368, 552, 736)
FACE_SIDE, FACE_HEAT = 384, 0.05


def hand_boxes(joints: dict[int, Point], height: int, width: int) -> list[Box]:
    """Squares around the hands of arms that are known whole: beyond the wrist, as the forearm points."""
    boxes = []
    for arm in ARMS:
        if not all(joint in joints for joint in arm):
            continue
        shoulder, elbow, wrist = (np.array(joints[joint]) for joint in arm)
        forearm, upper = float(np.linalg.norm(wrist - elbow)), float(np.linalg.norm(elbow - shoulder))
        side = 1.5 * max(forearm, 0.9 * upper)
        x, y = np.maximum(wrist + 0.33 * (wrist - elbow) - side / 2, 0)
        boxes.append(_inside(x, y, side, height, width))
    return [box for box in boxes if box[2] >= SMALLEST]


def face_box(joints: dict[int, Point], height: int, width: int) -> Box | None:
    """The square around a nose, as large as eyes and ears tell; None without a nose or all of those."""
    beside = [(joints[joint], share) for joint, share in SIDES if joint in joints]
    if NOSE not in joints or not beside:
        return None
    nose = np.array(joints[NOSE])
    reach = max(share * float(np.abs(nose - place).max()) for place, share in beside)
    x, y = np.maximum(nose - reach, 0)
    left, top, side = _inside(x, y, 2 * reach, height, width)
    return (left, top, side) if side >= SMALLEST else None


def hand_points(picture: NDArray[np.uint8], box: Box, network: Maps) -> list[Point | None]:
    """The 21 points of a hand in a square of the picture, None for those that are not seen."""
    import cv2

    left, top, side = box
    crop = cv2.GaussianBlur(picture[top : top + side, left : left + side], (0, 0), 0.8).astype(np.uint8, copy=False)
    heat = np.zeros((HAND_POINTS, HAND_MAP, HAND_MAP), dtype=np.float32)
    for size in HAND_SIDES:
        seen, maps = padded_maps(resized(crop, size, size), network)
        heat += np.stack([enlarged(one, seen, (HAND_MAP, HAND_MAP)) for one in maps[:HAND_POINTS]]) / len(HAND_SIDES)
    places = [_hottest_spot(one) for one in heat]
    return [
        None if place is None else (left + place[0] * side // HAND_MAP, top + place[1] * side // HAND_MAP)
        for place in places
    ]


def face_points(picture: NDArray[np.uint8], box: Box, network: Maps) -> list[Point]:
    """The points of a face in a square of the picture."""
    left, top, side = box
    maps = asked(network, resized(picture[top : top + side, left : left + side], FACE_SIDE, FACE_SIDE))
    whole = torch.nn.functional.interpolate(
        torch.from_numpy(maps.transpose(2, 0, 1).copy())[None], (side, side), mode="bilinear", align_corners=True
    )[0].numpy()
    found = []
    for heat in whole:
        y, x = np.unravel_index(int(heat.argmax()), heat.shape)
        if heat[y, x] > FACE_HEAT:
            found.append((float(left + x), float(top + y)))
    return found


def _hottest_spot(heat: NDArray[np.float32]) -> tuple[int, int] | None:
    """x, y of the hottest place in the warmest spot; None where nothing is warm."""
    import cv2

    warm = (smoothed(heat) > HAND_HEAT).astype(np.uint8)
    count, labels = cv2.connectedComponents(warm, connectivity=8)
    if count == 1:
        return None
    sums = np.bincount(labels.ravel(), weights=heat.ravel(), minlength=count)
    spot = 1 + int(sums[1:].argmax())
    y, x = np.unravel_index(int(np.where(labels == spot, heat, -np.inf).argmax()), heat.shape)
    return int(x), int(y)


def _inside(x: float, y: float, side: float, height: int, width: int) -> Box:
    """The square from a corner on, made smaller until it is in the picture."""
    return int(x), int(y), int(max(0, min(side, width - x, height - y)))
