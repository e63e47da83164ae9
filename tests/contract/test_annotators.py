"""What every annotator in ANNOTATORS promises."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from sakuga.errors import JobError
from sakuga.render.annotators import ANNOTATORS, find_annotator


@pytest.fixture(params=ANNOTATORS, ids=lambda annotator: annotator.name)
def annotator(request):
    if request.param.needs:
        pytest.importorskip(request.param.needs)
    return request.param


def scene(height, width):
    """A dark square and a light disc on a slope of colour."""
    y, x = np.mgrid[:height, :width]
    frame = np.stack([x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), np.full_like(x, 120)], axis=-1)
    frame[height // 5 : height // 2, width // 5 : width // 2] = 20
    frame[(x - width * 0.7) ** 2 + (y - height * 0.7) ** 2 < (min(height, width) / 6) ** 2] = 240
    return frame.astype(np.uint8)


@pytest.mark.parametrize("size", [(48, 64), (63, 41), (16, 16), (40, 400), (500, 480)])
def test_a_picture_of_the_same_size_and_kind(annotator, size):
    drawn = annotator.draw(scene(*size))
    assert drawn.shape == (*size, 3) and drawn.dtype == np.uint8


def test_the_frame_is_left_alone_and_the_drawing_is_not_a_view_of_it(annotator):
    frame = scene(48, 64)
    drawn = annotator.draw(frame)
    assert np.array_equal(frame, scene(48, 64))
    drawn[:] = 7
    assert np.array_equal(frame, scene(48, 64))


def test_alike_each_time_and_whatever_was_drawn_before(annotator):
    first = annotator.draw(scene(64, 48))
    annotator.draw(255 - scene(48, 64))
    assert np.array_equal(first, annotator.draw(scene(64, 48)))


def test_frames_that_are_views_and_frames_that_may_not_be_written(annotator):
    frame = scene(48, 64)
    mirrored = frame[:, ::-1]
    assert np.array_equal(annotator.draw(mirrored), annotator.draw(mirrored.copy()))
    frame.flags.writeable = False
    assert annotator.draw(frame).any()


def test_a_frame_without_anything_in_it(annotator):
    flat = np.full((32, 48, 3), 90, dtype=np.uint8)
    drawn = annotator.draw(flat)
    assert np.array_equal(drawn, flat) if annotator.name == "tile" else not drawn.any()


def test_what_it_needs_can_be_imported_by_that_name(annotator):
    assert annotator.needs is None or importlib.import_module(annotator.needs)


def test_names_are_found_and_misspelt_ones_get_the_nearest():
    assert [find_annotator(annotator.name) for annotator in ANNOTATORS] == list(ANNOTATORS)
    assert [annotator.name for annotator in ANNOTATORS] == sorted({annotator.name for annotator in ANNOTATORS})
    with pytest.raises(JobError) as error:
        find_annotator("line-art")
    assert error.value.nearest == "lineart"
