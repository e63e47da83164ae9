"""Openpose: people as coloured sticks on black, with hands and faces if their networks are there. Nothing draws it
without the network for bodies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sakuga.render.annotators.pose_body import find_people
from sakuga.render.annotators.pose_drawing import draw_body, draw_face, draw_hand
from sakuga.render.annotators.pose_parts import face_box, face_points, hand_boxes, hand_points
from sakuga.render.annotators.through import Maps, back, worked

if TYPE_CHECKING:
    from numpy.typing import NDArray


def draw(frame: NDArray[np.uint8], body: Maps, hand: Maps | None = None, face: Maps | None = None) -> NDArray[np.uint8]:
    """The people of one RGB picture, uint8 (height, width, 3) in and out, the same size; without any it is black."""
    work = worked(frame)
    height, width = work.shape[:2]
    canvas = np.zeros_like(work)
    for joints in find_people(work, body):
        draw_body(canvas, joints)
        if hand is not None:
            for box in hand_boxes(joints, height, width):
                draw_hand(canvas, hand_points(work, box, hand))
        where = face_box(joints, height, width)
        if face is not None and where is not None:
            draw_face(canvas, face_points(work, where, face))
    return back(canvas, frame)
