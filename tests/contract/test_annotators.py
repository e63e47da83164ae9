"""What every annotator in ANNOTATORS promises."""

from __future__ import annotations

import importlib
from functools import cache

import numpy as np
import pytest
import torch
from tests.annotator_layouts import small, weights

from sakuga.errors import JobError
from sakuga.models.annotators import LoadedNetwork, network_named
from sakuga.models.annotators.weights import Weights
from sakuga.render.annotators import ANNOTATORS, FRAME, find_annotator

ALONE = [annotator for annotator in ANNOTATORS if annotator.alone is not None]
LEARNED = [annotator for annotator in ANNOTATORS if annotator.networks]
CASES = [(annotator, False) for annotator in ALONE] + [(annotator, True) for annotator in LEARNED]


@cache
def loaded(name):
    """A small network of that name, with random weights."""
    found = weights(small(name))
    plain = {key.removeprefix("module."): tensor for key, tensor in found.items()}
    return LoadedNetwork(network=network_named(name), weights=Weights(plain), device=torch.device("cpu"))


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0].name}{'-learned' if case[1] else ''}")
def annotator(request):
    """Every annotator as it draws alone, if it does, and as it draws with its networks, if it has any."""
    found, learned = request.param
    if found.needs:
        pytest.importorskip(found.needs)
    return found.with_networks([loaded(name) for name in found.networks]) if learned else found


@pytest.fixture(params=ALONE, ids=lambda annotator: annotator.name)
def weightless(request):
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


@pytest.mark.parametrize("size", [(48, 64), (63, 41), (16, 16), (40, 130), (200, 180)])
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
    assert np.array_equal(annotator.draw(frame), annotator.draw(scene(48, 64)))


def test_a_frame_without_anything_in_it(weightless):
    flat = np.full((32, 48, 3), 90, dtype=np.uint8)
    drawn = weightless.draw(flat)
    assert np.array_equal(drawn, flat) if weightless.alone == FRAME else not drawn.any()


def test_a_frame_with_something_in_it(weightless):
    assert weightless.draw(scene(48, 64)).any()


def test_networks_make_a_difference_and_without_any_it_stays_what_it_is():
    for annotator in LEARNED:
        none = [None for _ in annotator.networks]
        assert annotator.with_networks(none) is annotator
        first = annotator.with_networks([loaded(annotator.networks[0]), *none[1:]])
        drawn = first.draw(scene(64, 64))
        assert annotator.alone is None or not np.array_equal(drawn, annotator.draw(scene(64, 64)))


def test_networks_are_those_of_the_table():
    assert [name for annotator in LEARNED for name in annotator.networks]
    for annotator in LEARNED:
        assert [network_named(name).name for name in annotator.networks] == list(annotator.networks)


def test_what_it_needs_can_be_imported_by_that_name(annotator):
    assert annotator.needs is None or importlib.import_module(annotator.needs)


def test_names_are_found_and_misspelt_ones_get_the_nearest():
    assert [find_annotator(annotator.name) for annotator in ANNOTATORS] == list(ANNOTATORS)
    assert [annotator.name for annotator in ANNOTATORS] == sorted({annotator.name for annotator in ANNOTATORS})
    with pytest.raises(JobError) as error:
        find_annotator("line-art")
    assert error.value.nearest == "lineart"
