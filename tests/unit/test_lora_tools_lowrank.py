"""Changes cut to a rank, against numpy's SVD; how many singular values the methods keep; the error that is stated."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sakuga.errors import SakugaError
from sakuga.lora.tools.lowrank import Keep, Method, OfPair, OfWhole, Spectrum, pair_norm


def _pair(rows: int, columns: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    sizes = torch.logspace(0, -3, rank)
    return torch.randn(rows, rank) * sizes, torch.randn(rank, columns)


@pytest.mark.parametrize(("rows", "columns", "rank"), [(20, 30, 5), (30, 20, 5), (6, 40, 12), (40, 6, 12), (8, 8, 1)])
@pytest.mark.parametrize("whole", [False, True], ids=["pair", "whole"])
def test_the_cut_is_the_best_there_is(rows: int, columns: int, rank: int, whole: bool) -> None:
    up, down = _pair(rows, columns, rank)
    exact = up.double() @ down.double()
    change: Spectrum = OfWhole(change=exact) if whole else OfPair(up=up, down=down)
    left, values, right = np.linalg.svd(exact.numpy(), full_matrices=False)
    count = min(rank, rows, columns)
    np.testing.assert_allclose(change.values[:count].numpy(), values[:count], rtol=1e-6, atol=1e-7 * values[0])
    for kept in range(1, count + 1):
        new_up, new_down = change.cut(kept)
        assert (tuple(new_up.shape), tuple(new_down.shape)) == ((rows, kept), (kept, columns))
        best = (left[:, :kept] * values[:kept]) @ right[:kept]
        np.testing.assert_allclose((new_up @ new_down).numpy(), best, atol=1e-7 * values[0])
        missing = np.linalg.norm(exact.numpy() - best)
        assert change.error(new_up, new_down) == pytest.approx(missing, rel=1e-6, abs=1e-7 * values[0])
    assert change.norm == pytest.approx(np.linalg.norm(exact.numpy()), rel=1e-12)


def test_both_factors_of_a_cut_are_of_one_size() -> None:
    up, down = _pair(20, 30, 5)
    for change in (OfPair(up=up, down=down), OfWhole(change=up.double() @ down.double())):
        left, right = change.cut(4)
        torch.testing.assert_close(left.norm(dim=0), right.norm(dim=1))


def test_the_norm_of_a_pair_is_that_of_its_product() -> None:
    up, down = _pair(50, 40, 7)
    assert pair_norm(up, down) == pytest.approx(float((up.double() @ down.double()).norm()), rel=1e-12)


@pytest.mark.parametrize(
    ("method", "value", "expected"),
    [
        (None, 1.0, 4),
        ("sv_fro", 0.9, 2),  # √(16 + 9) of √30 is 0.913, √16 is 0.730
        ("sv_fro", 1.0, 4),
        ("sv_fro", 0.1, 1),
        ("sv_cumulative", 0.7, 2),  # 7 of 10
        ("sv_cumulative", 0.71, 3),
        ("sv_ratio", 2.0, 3),  # at least 4 / 2
        ("sv_ratio", 1.9, 2),
    ],
)
def test_the_methods_keep_what_they_say(method: Method | None, value: float, expected: int) -> None:
    values = torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    assert Keep(rank=9, method=method, value=value).count(values) == expected
    assert Keep(rank=1, method=method, value=value).count(values) == 1


def test_nothing_is_kept_of_nothing() -> None:
    assert Keep(rank=4).count(torch.zeros(3)) == 0
    assert Keep(rank=4).count(torch.zeros(0)) == 0
    assert Keep(rank=4).count(torch.tensor([1.0, 0.0])) == 1


@pytest.mark.parametrize(
    ("rank", "method", "value"), [(0, None, 1.0), (4, "sv_fro", 0.0), (4, "sv_fro", 1.5), (4, "sv_ratio", 1.0)]
)
def test_numbers_that_mean_nothing_are_refused(rank: int, method: Method | None, value: float) -> None:
    with pytest.raises(SakugaError):
        Keep(rank=rank, method=method, value=value)
