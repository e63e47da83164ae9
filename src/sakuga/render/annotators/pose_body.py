"""Bodies in a picture: from the maps of OpenPose's body network to people with up to 18 joints.

Joints are the peaks of their maps; two joints belong together where the field between them points along the limb; limbs
that share a joint make a person. Source: Cao et al., "OpenPose" (2019), with the thresholds of its public form.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sakuga.render.annotators.through import Maps, asked, resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

Point: TypeAlias = tuple[float, float]  # x, y in pixels of the picture

JOINTS = 18  # nose, neck; shoulder, elbow, wrist right, then left; hip, knee, ankle likewise; eyes, ears
HEIGHT = 184  # of the picture that the network sees: half of the 368 it was trained at
FACTOR = 8
FIELDS = 38
GREY = 128
PEAK, ALONG = 0.1, 0.05  # the least heat of a joint, the least agreement of a field with a limb
SAMPLES = 10
MOST_PEAKS = 128  # of one joint: more people than that are noise
# The limbs, by their joints, and the pair of fields of each. The last two only join what others have begun.
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17),
)  # fmt: skip
PAIRS = (12, 20, 14, 16, 22, 24, 0, 2, 4, 6, 8, 10, 28, 30, 34, 32, 36, 18, 26)
BEGINNING = 17


@dataclass(frozen=True, kw_only=True)
class Peak:
    """A place where a joint may be."""

    at: Point
    heat: float


@dataclass(kw_only=True)
class Person:
    """Peaks by joint, and what speaks for them all together."""

    joints: dict[int, Peak] = field(default_factory=dict)
    score: float = 0.0
    count: int = 0

    @property
    def likely(self) -> bool:
        """Whether there is enough of it."""
        return self.count >= 4 and self.score / self.count >= 0.4


def find_people(picture: NDArray[np.uint8], network: Maps) -> list[dict[int, Point]]:
    """The joints of every person in an RGB picture, by number."""
    heat, fields, scale = _maps(picture, network)
    peaks = [list(_peaks(heat[joint])) for joint in range(JOINTS)]
    people: list[Person] = []
    for number, (first, second) in enumerate(LIMBS):
        along = fields[PAIRS[number] : PAIRS[number] + 2]
        for a, b, score in _limbs(peaks[first], peaks[second], along, scale, picture.shape[0]):
            _join(people, number, (first, a), (second, b), score)
    return [{joint: peak.at for joint, peak in one.joints.items()} for one in people if one.likely]


def _maps(
    picture: NDArray[np.uint8], network: Maps
) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[float, float]]:
    """Heat of the joints at the picture's size, the fields as the network gives them, and their numbers to a pixel."""
    height, width = picture.shape[:2]
    small = resized(picture, HEIGHT, max(1, int(width * HEIGHT / height)))
    seen, maps = padded_maps(small, network)
    heat = np.stack([enlarged(maps[n], seen, (height, width)) for n in range(FIELDS, FIELDS + JOINTS)])
    return heat, maps[:FIELDS], (small.shape[1] / width / FACTOR, small.shape[0] / height / FACTOR)


def padded_maps(picture: NDArray[np.uint8], network: Maps) -> tuple[tuple[int, int], NDArray[np.float32]]:
    """The size of the picture, and the maps (C, h, w) of it with grey added up to a multiple of 8."""
    height, width = picture.shape[:2]
    below, beside = -height % FACTOR, -width % FACTOR
    filled = np.pad(picture, ((0, below), (0, beside), (0, 0)), constant_values=GREY)
    return (height, width), np.ascontiguousarray(asked(network, filled).transpose(2, 0, 1))


def enlarged(one: NDArray[np.float32], seen: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float32]:
    """A map at the size of what was seen, without the grey, and then at ``size`` (height, width)."""
    import cv2

    whole = cv2.resize(one, None, fx=FACTOR, fy=FACTOR, interpolation=cv2.INTER_LANCZOS4)[: seen[0], : seen[1]]
    if seen == size:
        return np.asarray(whole, dtype=np.float32)
    by = cv2.INTER_LANCZOS4 if sum(size) >= sum(seen) else cv2.INTER_AREA
    return np.asarray(cv2.resize(np.ascontiguousarray(whole), size[::-1], interpolation=by), dtype=np.float32)


def smoothed(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """A Gaussian of 3 pixels."""
    import cv2

    return np.asarray(cv2.GaussianBlur(heat, (25, 25), 3, borderType=cv2.BORDER_REFLECT), dtype=np.float32)


def _peaks(heat: NDArray[np.float32]) -> Iterator[Peak]:
    """The places that are hotter than their neighbours, the hottest first where there are too many."""
    soft = smoothed(heat)
    around = np.pad(soft, 1)
    peak = soft > PEAK
    for beside in (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]):
        peak &= soft >= beside
    rows, columns = np.nonzero(peak)
    kept = np.argsort(-heat[rows, columns], kind="stable")[:MOST_PEAKS]
    for n in np.sort(kept):
        yield Peak(at=(float(columns[n]), float(rows[n])), heat=float(heat[rows[n], columns[n]]))


def _limbs(
    first: list[Peak], second: list[Peak], along: NDArray[np.float32], scale: tuple[float, float], height: int
) -> Iterator[tuple[Peak, Peak, float]]:
    """Pairs of peaks that a limb joins, with its score; a peak is in one pair at most, the best first."""
    if not first or not second:
        return
    start = np.array([peak.at for peak in first])[:, None]
    stop = np.array([peak.at for peak in second])[None]
    length = np.maximum(np.linalg.norm(stop - start, axis=-1), 1e-3)
    direction = (stop - start) / length[..., None]
    share = np.linspace(0, 1, SAMPLES)[:, None]
    places = start[:, :, None] * (1 - share) + stop[:, :, None] * share
    agreement = (_read(along, places, scale) * direction[:, :, None]).sum(axis=-1)
    score = agreement.mean(axis=-1) + np.minimum(0.5 * height / length - 1, 0)
    fits = ((agreement > ALONG).sum(axis=-1) > 0.8 * SAMPLES) & (score > 0)
    taken_a, taken_b = set[int](), set[int]()
    for flat in np.argsort(-score, axis=None, kind="stable"):
        a, b = (int(n) for n in np.unravel_index(flat, score.shape))
        if fits[a, b] and a not in taken_a and b not in taken_b:
            taken_a.add(a)
            taken_b.add(b)
            yield first[a], second[b], float(score[a, b])


def _read(along: NDArray[np.float32], places: NDArray[np.float64], scale: tuple[float, float]) -> NDArray[np.float32]:
    """The fields (2, h, w) at places (…, 2) of the picture: (…, 2)."""
    import cv2

    x, y = ((places[..., n] + 0.5) * scale[n] - 0.5 for n in (0, 1))
    columns, rows = (np.ascontiguousarray(v.reshape(-1, SAMPLES), dtype=np.float32) for v in (x, y))
    read = [cv2.remap(one, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for one in along]
    return np.stack(read, axis=-1).reshape(*places.shape[:-1], 2)


def _join(people: list[Person], number: int, a: tuple[int, Peak], b: tuple[int, Peak], score: float) -> None:
    """Give a limb to the person that has one of its joints, to two that it makes one, or to a new one."""
    (first, start), (second, stop) = a, b
    owners = [one for one in people if one.joints.get(first) is start or one.joints.get(second) is stop][:2]
    if len(owners) == 2 and not set(owners[0].joints) & set(owners[1].joints):
        kept, gone = owners
        kept.joints |= gone.joints
        kept.score += gone.score + score
        kept.count += gone.count
        people[:] = [one for one in people if one is not gone]
    elif len(owners) == 2 or (owners and owners[0].joints.get(second) is not stop):
        owners[0].joints[second] = stop
        owners[0].score += stop.heat + score
        owners[0].count += 1
    elif not owners and number < BEGINNING:
        joints = {first: start, second: stop}
        people.append(Person(joints=joints, score=start.heat + stop.heat + score, count=2))
