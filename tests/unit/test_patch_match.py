"""Patch match against straight loops, a shift that is known, and itself: other batches, compiled kernels."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sakuga.render.smoothers import patch_match
from sakuga.render.smoothers.patch_compiled import CompiledKernels, has_numba
from sakuga.render.smoothers.patch_kernels import Kernels, Level, TorchKernels
from sakuga.render.smoothers.patch_match import Pair, Picture, Search, level_sizes, pyramid, remapped

CPU = torch.device("cpu")
QUICK = Search(patch=3, iterations=2)
KERNELS: list[Callable[..., Kernels]] = [TorchKernels, CompiledKernels]


@pytest.fixture(params=KERNELS, ids=lambda kind: kind.__name__)
def kernels(request: pytest.FixtureRequest) -> Callable[..., Kernels]:
    if request.param is CompiledKernels and not has_numba():
        pytest.skip("numba is not installed: it comes with the extra smooth")
    kind: Callable[..., Kernels] = request.param
    return kind


def texture(height: int, width: int, seed: int = 0, blur: float = 1.0) -> Picture:
    """Blotches of colour, nowhere alike."""
    dice = np.random.default_rng(seed)
    found = cv2.GaussianBlur(dice.random((height, width, 3)), (0, 0), blur)
    return np.asarray(cv2.normalize(found, None, 0, 255, cv2.NORM_MINMAX), dtype=np.uint8)


def moved(pairs: list[tuple[Picture, Picture, Picture]], search: Search = QUICK, first: int = 0) -> list[Picture]:
    """The styles of (target's guide, source's guide, source's style), where the target has them."""
    levels = [tuple(pyramid(picture, search.largest_patch) for picture in pair) for pair in pairs]
    return remapped([Pair(*pair, f"{first + n}") for n, pair in enumerate(levels)], search, CPU)


def a_level(pairs: int = 2, height: int = 7, width: int = 9) -> tuple[Level, Tensor, Tensor]:
    """(pictures, a field whose matches lie anywhere in the source, reconstructions)."""
    dice = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (4, pairs, height, width, 3), generator=dice, dtype=torch.uint8)
    rows = torch.randint(0, height, (pairs, height, width), generator=dice) - torch.arange(height)[:, None]
    columns = torch.randint(0, width, (pairs, height, width), generator=dice) - torch.arange(width)
    return Level(*pictures[:3]), torch.stack((rows, columns), 1).to(torch.int16), pictures[3]


def straight_errors(level: Level, field: NDArray, styles: NDArray, half: int, guide_weight: float) -> NDArray:
    """The sums of squares as they are written down, one term after the other."""
    target, source, style = (part.numpy().astype(float) for part in level)
    pairs, height, width, _ = target.shape
    errors = np.zeros((pairs, height, width))
    for z, y, x in np.ndindex(pairs, height, width):
        for down, right in np.ndindex(2 * half + 1, 2 * half + 1):
            row, column = y + down - half, x + right - half
            if 0 <= row < height and 0 <= column < width:
                to_row = np.clip(row + field[z, 0, y, x], 0, height - 1)
                to_column = np.clip(column + field[z, 1, y, x], 0, width - 1)
                errors[z, y, x] += guide_weight * np.square(target[z, row, column] - source[z, to_row, to_column]).sum()
                errors[z, y, x] += np.square(styles[z, row, column] - style[z, to_row, to_column]).sum()
    return errors


@pytest.mark.parametrize("patch", [1, 3, 7])
def test_errors_are_the_sums_of_the_formula(kernels: Callable[..., Kernels], patch: int) -> None:
    level, field, styles = a_level()
    kernel = kernels(level, 3, 10.0)
    kernel.aim(styles)
    expected = straight_errors(level, field.numpy(), styles.numpy().astype(float), patch // 2, 10.0)
    assert np.array_equal(kernel.rate(field, patch).numpy(), expected.astype(np.float32))


@pytest.mark.parametrize("patch", [1, 3, 7])
def test_a_pixel_is_the_mean_of_what_the_patches_over_it_put_there(kernels: Callable[..., Kernels], patch: int) -> None:
    level, field, _ = a_level()
    pairs, _, height, width = field.shape
    half, style, steps = patch // 2, level.source_styles.numpy(), field.numpy()
    expected = np.zeros((pairs, height, width, 3), dtype=np.uint8)
    for z, y, x in np.ndindex(pairs, height, width):
        votes = []
        for row in range(max(0, y - half), min(height, y + half + 1)):
            for column in range(max(0, x - half), min(width, x + half + 1)):
                there = y + steps[z, 0, row, column], x + steps[z, 1, row, column]
                if 0 <= there[0] < height and 0 <= there[1] < width:
                    votes.append(style[z, *there].astype(int))
        expected[z, y, x] = np.floor(np.mean(votes, axis=0) + 0.5)
    assert np.array_equal(kernels(level, 3, 10.0).reconstruct(field, patch).numpy(), expected)


def test_a_candidate_is_taken_where_its_error_is_lower(kernels: Callable[..., Kernels]) -> None:
    level, field, styles = a_level()
    kernel = kernels(level, 3, 1.0)
    kernel.aim(styles)
    other = torch.zeros_like(field)
    before, errors = field.clone(), kernel.rate(field, 5)
    own, others = errors.clone(), kernel.rate(other, 5)
    kernel.attempt(field, errors, other, 5)
    assert 0 < (others < own).float().mean() < 1
    assert torch.equal(errors, torch.minimum(own, others))
    assert torch.equal(field, torch.where((others < own)[:, None], other, before))


@pytest.mark.parametrize("shift", [(0, 0), (2, -3), (-4, 5), (7, 6)])
def test_a_shift_by_whole_pixels_is_undone_exactly(shift: tuple[int, int]) -> None:
    whole, style = texture(72, 88, blur=1.5), texture(72, 88, seed=1, blur=1.5)
    (down, right), inner = shift, (slice(8, 56), slice(8, 72))
    there = slice(8 + down, 56 + down), slice(8 + right, 72 + right)
    (found,) = moved([(whole[inner], whole[there], style[there])], Search())
    seen = slice(10, -10), slice(10, -10)  # what left the picture cannot come back
    assert np.array_equal(found[seen], style[inner][seen])


def test_with_and_without_numba_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_numba():
        pytest.skip("numba is not installed: it comes with the extra smooth")
    pictures = [texture(37, 51, seed) for seed in range(4)]
    pairs = [(pictures[0], pictures[1], pictures[2]), (pictures[0], pictures[2], pictures[3])]
    searches = [
        Search(patch=3, iterations=2),
        Search(start="random", tracking=1),
        Search(shared=True, guide_weight=0.3),
    ]
    compiled = [moved(pairs, search) for search in searches]
    monkeypatch.setattr(patch_match, "has_numba", lambda: False)
    for search, expected in zip(searches, compiled, strict=True):
        assert all(map(np.array_equal, moved(pairs, search), expected))


@pytest.mark.gpu
def test_with_cuda_the_same_bytes() -> None:
    pair = [pyramid(texture(60, 80, seed), 13) for seed in range(3)]
    for search in (Search(), Search(start="random", shared=True, tracking=1)):
        pairs = [Pair(*pair, "a"), Pair(pair[1], pair[0], pair[2], "b")]
        on_cpu, on_cuda = (remapped(pairs, search, torch.device(device)) for device in ("cpu", "cuda"))
        assert all(map(np.array_equal, on_cpu, on_cuda))


def test_pairs_do_not_depend_on_those_beside_them() -> None:
    pictures = [texture(24, 30, seed) for seed in range(4)]
    pairs = [(pictures[0], guide, style) for guide in pictures[1:] for style in pictures[2:]]
    together = moved(pairs)
    assert all(np.array_equal(moved([pair], first=n)[0], together[n]) for n, pair in enumerate(pairs))


def test_another_seed_is_another_search() -> None:
    pair = texture(24, 30), texture(24, 30, 1), texture(24, 30, 2)
    one, same, other = (moved([pair], Search(patch=3, iterations=2, seed=seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_levels_are_halves_as_long_as_the_largest_patch_fits_twice() -> None:
    assert Search().largest_patch == 13
    assert [min(size) for size in level_sizes(512, 512, 13)] == [32, 64, 128, 256, 512]
    assert [min(size) for size in level_sizes(1536, 1536, 13)] == [48, 96, 192, 384, 768, 1536]
    assert level_sizes(100, 55, 13) == ((50, 27), (100, 55))


def test_a_picture_with_a_short_side_below_two_patches_has_one_level() -> None:
    assert level_sizes(25, 400, 13) == level_sizes(25, 400, 25) == ((25, 400),)
    guide = texture(5, 40)
    assert np.array_equal(moved([(guide, guide, guide)], Search())[0], guide)


def test_a_finer_level_begins_where_the_coarser_one_ended() -> None:
    field = torch.tensor([[[[1, -1], [0, 1]], [[0, 1], [-1, 0]]]], dtype=torch.int16)  # 2 x 2
    finer = patch_match._refined(field, 5, 4)  # an odd side: its last row is that of the pixel beside it
    assert finer.shape == (1, 2, 5, 4)
    for y, x in np.ndindex(5, 4):
        for axis, (place, size) in enumerate(((y, 5), (x, 4))):
            expected = place + 2 * int(field[0, axis, min(y // 2, 1), min(x // 2, 1)])
            assert place + int(finer[0, axis, y, x]) == min(max(expected, 0), size - 1)


def test_the_search_begins_everywhere_at_its_own_place_or_anywhere_in_the_picture() -> None:
    assert not patch_match._first(Search(), ["a"], 6, 8, CPU).any()
    field = patch_match._first(Search(start="random"), ["a", "b"], 6, 8, CPU)
    rows, columns = field[:, 0] + torch.arange(6)[:, None], field[:, 1] + torch.arange(8)
    assert not torch.equal(field[0], field[1])
    assert {rows.min().item(), rows.max().item()} == {0, 5} and {columns.min().item(), columns.max().item()} == {0, 7}


def test_what_the_batch_lends_is_used() -> None:
    whole = texture(60, 100)
    target, near, far = whole[:40, 30:70], whole[:40, 34:74], whole[:40, 40:80]
    pairs = [(target, near, near), (target, far, far)]
    alone, lent = (moved(pairs, Search(patch=3, iterations=1, tracking=w)) for w in (0, 1))
    apart = [float(np.abs(one[1].astype(int) - target)[:, 12:].mean()) for one in (alone, lent)]
    assert apart[1] < apart[0]
