"""From the maps of OpenPose to people, and from people to the picture that a ControlNet knows."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch

from sakuga.render.annotators import openpose
from sakuga.render.annotators.pose_body import LIMBS, PAIRS, find_people
from sakuga.render.annotators.pose_drawing import BONES, HUES, draw_body, draw_face, draw_hand
from sakuga.render.annotators.pose_parts import face_box, face_points, hand_boxes, hand_points

pytest.importorskip("cv2")

# A person 100 wide and 160 tall, by the numbers of its joints: nose, neck, right arm, left arm, legs, eyes, ears.
STANDING = {
    0: (50, 20), 1: (50, 40), 2: (35, 42), 3: (25, 70), 4: (18, 96), 5: (65, 42), 6: (75, 70), 7: (82, 96),
    8: (42, 92), 9: (40, 122), 10: (39, 150), 11: (58, 92), 12: (60, 122), 13: (61, 150),
    14: (46, 16), 15: (54, 16), 16: (41, 19), 17: (59, 19),
}  # fmt: skip


def person(left=0.0, top=0.0, zoom=1.0):
    return {joint: (left + zoom * x, top + zoom * y) for joint, (x, y) in STANDING.items()}


def maps_of(people, height, width, without=()):
    """What a perfect body network would say of ``people`` in a picture of this size: [57, h, w] at an eighth of 184."""
    scale = 184 / height / 8
    h, w = 23, -(-int(width * 184 / height) // 8)
    y, x = np.mgrid[:h, :w].astype(np.float64)
    maps = np.zeros((57, h, w))

    def place(point):
        return np.array([(point[0] + 0.5) * scale - 0.5, (point[1] + 0.5) * scale - 0.5])

    for joints in people:
        for joint, point in joints.items():
            px, py = place(point)
            spot = np.exp(-((x - px) ** 2 + (y - py) ** 2) / 2 / 0.8**2)
            maps[38 + joint] = np.maximum(maps[38 + joint], spot)
        for number, (a, b) in enumerate(LIMBS):
            if number in without or a not in joints or b not in joints:
                continue
            start, stop = place(joints[a]), place(joints[b])
            along = (stop - start) / np.linalg.norm(stop - start)
            t = np.clip((x - start[0]) * along[0] + (y - start[1]) * along[1], 0, np.linalg.norm(stop - start))
            near = np.hypot(x - start[0] - t * along[0], y - start[1] - t * along[1]) < 1.0
            for axis in (0, 1):
                maps[PAIRS[number] + axis][near] = along[axis]
    return torch.from_numpy(maps).float()


def network(*answers):
    """A network that gives these maps, whatever it sees; the last one again and again."""
    left = list(answers)
    return lambda pixels: left.pop(0) if len(left) > 1 else left[0]


def frame(height=192, width=320):
    return np.zeros((height, width, 3), dtype=np.uint8)


def test_people_are_found_where_they_are_and_kept_apart():
    people = [person(20, 10), person(190, 20)]
    found = find_people(frame(), network(maps_of(people, 192, 320)))
    assert len(found) == 2
    found.sort(key=lambda joints: joints[1])
    for joints, meant in zip(found, people, strict=True):
        assert set(joints) == set(meant)
        assert max(np.hypot(*np.subtract(joints[n], meant[n])) for n in meant) < 3


def test_a_person_without_legs_is_a_person_and_three_joints_are_none():
    half = {joint: point for joint, point in person(20, 10).items() if joint not in range(8, 14)}
    assert [set(one) for one in find_people(frame(), network(maps_of([half], 192, 320)))] == [set(half)]
    arm = {joint: person(20, 10)[joint] for joint in (2, 3, 4)}
    assert find_people(frame(), network(maps_of([arm], 192, 320))) == []


def test_joints_that_no_field_joins_are_nobody():
    maps = maps_of([person(20, 10)], 192, 320, without=range(19))
    assert find_people(frame(), network(maps)) == []


def test_a_map_that_is_hot_everywhere_ends_in_time():
    maps = torch.rand(57, 23, 20, generator=torch.Generator().manual_seed(0)) + 1
    assert len(find_people(frame(192, 160), network(maps))) < 200


def test_hands_are_beyond_the_wrist_and_faces_around_the_nose():
    joints = person(60, 10)
    boxes = hand_boxes(joints, 192, 320)
    assert len(boxes) == 2
    for (left, top, side), wrist, elbow in zip(boxes, (7, 4), (6, 3), strict=True):
        middle = np.array([left + side / 2, top + side / 2])
        beyond = np.array(joints[wrist]) + 0.33 * np.subtract(joints[wrist], joints[elbow])
        assert np.abs(middle - beyond).max() <= 1.5 and side >= 20
    left, top, side = face_box(joints, 192, 320)
    assert abs(left + side / 2 - joints[0][0]) <= 1 and abs(top + side / 2 - joints[0][1]) <= 1
    assert hand_boxes({n: p for n, p in joints.items() if n not in (3, 6)}, 192, 320) == []
    assert face_box({n: p for n, p in joints.items() if n < 14}, 192, 320) is None
    assert face_box({n: p for n, p in joints.items() if n > 0}, 192, 320) is None


def test_boxes_end_at_the_border_of_the_picture():
    for joints in (person(250, 60), person(-15, -12)):
        boxes = [*hand_boxes(joints, 192, 320), face_box(joints, 192, 320)]
        for left, top, side in filter(None, boxes):
            assert left >= 0 and top >= 0 and left + side <= 320 and top + side <= 192


def test_the_points_of_a_hand_are_the_hottest_of_the_warmest_spot():
    def hand(pixels):
        size = pixels.shape[-1] // 8
        maps = torch.zeros(22, size, size)
        maps[3, size // 2 : size // 2 + size // 8, size // 4 : size // 4 + size // 8] = 0.8
        maps[3, :2, -2:] = 1.0  # hotter, but a smaller spot
        return maps

    points = hand_points(frame(), (40, 20, 64), hand)
    assert len(points) == 21 and [n for n, point in enumerate(points) if point is not None] == [3]
    x, y = points[3]
    assert 40 + 64 / 4 - 2 <= x <= 40 + 64 * 3 / 8 + 2 and 20 + 64 / 2 - 2 <= y <= 20 + 64 * 5 / 8 + 2


def test_the_points_of_a_face_are_where_their_maps_are_hottest():
    maps = torch.zeros(71, 48, 48)
    maps[7, 12, 36], maps[9, 0, 0] = 1.0, 0.04
    points = face_points(frame(), (100, 50, 95), network(maps))
    assert len(points) == 1
    assert points[0] == pytest.approx((100 + 36 * 94 / 47, 50 + 12 * 94 / 47), abs=1)


def test_bodies_have_the_colours_of_the_controlnets():
    canvas = frame()
    draw_body(canvas, person(60, 10))
    for joint, (x, y) in person(60, 10).items():
        if joint < 14:  # eyes and ears are so near that their dots meet
            assert tuple(canvas[int(y), int(x)]) == HUES[joint]
    middle = np.add(person(60, 10)[9], person(60, 10)[10]) / 2
    assert tuple(canvas[int(middle[1]), int(middle[0])]) == tuple(
        int(part * 0.6) for part in HUES[LIMBS.index((9, 10))]
    )
    assert HUES[:4] == ((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0)) and HUES[-1] == (255, 0, 85)


def test_hands_are_thin_lines_with_blue_dots_and_faces_white_dots():
    canvas = frame()
    points = [(20 + 12 * n, 90 + (n % 4) * 20) for n in range(21)]
    points[20] = None
    draw_hand(canvas, points)
    assert all(tuple(canvas[y, x]) == (0, 0, 255) for x, y in points[:20])
    assert len(BONES) == 20 and BONES[:6] == ((0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (5, 6))
    (x0, y0), (x1, y1) = points[1], points[2]
    drawn = canvas[(y0 + y1) // 2, (x0 + x1) // 2]
    assert np.abs(drawn - 255 * np.array(colorsys.hsv_to_rgb(1 / 20, 1, 1))).max() <= 1
    draw_face(canvas, [(300.0, 20.0)])
    assert tuple(canvas[20, 300]) == (255, 255, 255)


def test_the_whole_picture_has_body_hands_and_face():
    body = maps_of([person(20, 10)], 192, 320)
    seen = []

    def hand(pixels):
        seen.append(pixels.shape[-1])
        return torch.zeros(22, pixels.shape[-2] // 8, pixels.shape[-1] // 8)

    def face(pixels):
        seen.append(pixels.shape[-1])
        maps = torch.zeros(71, pixels.shape[-2] // 8, pixels.shape[-1] // 8)
        maps[:, 24, 24] = 1
        return maps

    with_all = openpose.draw(frame(), network(body), hand, face)
    bare = openpose.draw(frame(), network(body))
    assert seen == [184, 368, 552, 736] * 2 + [384]
    assert bare.any() and not (bare == 255).all(axis=2).any() and (with_all == 255).all(axis=2).any()
    assert not openpose.draw(frame(), network(torch.zeros(57, 23, 39))).any()


def test_a_frame_of_an_odd_size_gets_its_people_at_their_place():
    people = [person(20, 10, zoom=1.1)]
    drawn = openpose.draw(frame(200, 330), network(maps_of(people, 200, 330)))
    assert drawn.shape == (200, 330, 3)
    x, y = people[0][1]
    assert drawn[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].max() > 200
