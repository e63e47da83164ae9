"""Smoothers in a Stage: their options in a job, shots, and those that old jobs have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from sakuga.cli.main import main
from sakuga.errors import JobError, Several, Stopped
from sakuga.models.detect import recognise
from sakuga.render.smoothers import find_smoother
from sakuga.render.smoothing import Smoothed, Smoothing
from sakuga.spec.smoothing import FastBlendOptions, LightOptions, RateOptions

CPU = torch.device("cpu")


def photo(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("flag", "place", "told"),
    [
        ("lihgt", "kind", "nearest   light"),
        ("rife", "kind", "RIFE draws frames between frames"),
        ("light:windw=3", "options", "nearest   window"),
        ("light:window=-1", "options.window", "outside its range"),
        ("light:strength=2", "options.strength", "outside its range"),
        ("light:strength=half", "options.strength", "wrong kind"),
        ("fastblend:mode=exact", "options.mode", "fast"),
        ("fastblend:window=1.5", "options.window", "wrong kind"),
        ("fastblend:patch=4", "options.patch", "nearest   5"),
        ("contrast:window=3", "options", "expected  one of rate"),
        ("sharpness:rate=-1", "options.rate", "outside its range"),
    ],
)
def test_what_a_smoother_does_not_have_is_refused_at_check(
    flag: str, place: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", "demo", "--smoother", "light", "--smoother", flag, "--smooth-at", "-1", "--motion", "none"]
    assert main([*words, "-o", str(tmp_path / "out.mp4")]) != 0
    error = capsys.readouterr().err
    assert f"stages.0.smoothers.1.{place}: " in error and told in error


def test_all_findings_of_a_smoother_are_told_together() -> None:
    with pytest.raises(Several) as caught:
        find_smoother("fastblend").read([("window", -1), ("batch", 0)], "here")
    assert [finding.place for finding in caught.value.findings] == ["here.window", "here.batch"]


def test_the_defaults_of_fastblend_are_those_of_diffsynth() -> None:
    assert FastBlendOptions().model_dump() == {
        "mode": "fast", "window": 60, "batch": 8, "patch": 5, "iterations": 5, "guide_weight": 10.0,
        "initialize": "identity", "tracking": 0,
    }  # fmt: skip
    assert RateOptions().rate == 1.5


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0, 1.5, 7.0])
@pytest.mark.parametrize(
    ("name", "enhance"), [("contrast", ImageEnhance.Contrast), ("sharpness", ImageEnhance.Sharpness)]
)
@pytest.mark.parametrize("size", [(48, 64), (2, 9), (1, 1)])
def test_contrast_and_sharpness_are_pillow_s(name: str, enhance: Any, rate: float, size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    (found,) = find_smoother(name).smooth([frame], [frame], RateOptions(rate=rate), 0, CPU)
    assert np.array_equal(found, np.asarray(enhance(Image.fromarray(frame)).enhance(rate)))


def test_a_file_of_rife_is_known_and_refused_with_the_reason(tmp_path: Path) -> None:
    keys = ("block0.conv0.0.0.weight", "block0.lastconv.weight", "block1.conv0.0.0.weight", "block1.lastconv.weight")
    torch.save({f"module.{key}": torch.zeros(2, 2) for key in keys}, tmp_path / "flownet.pkl")
    assert recognise(tmp_path / "flownet.pkl").role == "interpolator"


def test_flownet_pkl_as_a_vae_is_refused_by_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = ("block0.conv0.0.0.weight", "block0.conv1.0.weight", "block1.conv0.0.0.weight")
    torch.save({key: torch.zeros(2, 2) for key in keys}, tmp_path / "flownet.pkl")
    words = ["check", "demo", "--vae", str(tmp_path / "flownet.pkl"), "-o", str(tmp_path / "out.mp4")]
    assert main(words) != 0
    assert "RIFE network" in capsys.readouterr().err


class Mean:
    """Gives each frame of a shot the shot's mean, and notes how long the shots are."""

    name = "mean"

    def __init__(self) -> None:
        self.shots: list[int] = []

    def smooth(self, frames: Sequence[np.ndarray], guides: Sequence[np.ndarray], *_: Any) -> Iterator[np.ndarray]:
        assert len(frames) == len(guides)
        self.shots.append(len(frames))
        mean = np.mean(np.stack(frames), axis=0).astype(np.uint8)
        yield from (mean for _ in frames)


def smoothed(*smoothers: Any, check: Any = lambda: None) -> Smoothed:
    smoothings = [Smoothing(smoother=one, options=LightOptions()) for one in smoothers]
    return Smoothed(smoothings=smoothings, seed=0, device=CPU, check=check)


def test_nothing_is_smoothed_across_a_cut_of_the_clip() -> None:
    mean, guides = Mean(), [photo(1)] * 5 + [photo(2)] * 4
    frames = [np.full_like(guide, 50 if number < 5 else 200) for number, guide in enumerate(guides)]
    result = smoothed(mean).pictures(frames, guides)
    assert mean.shots == [5, 4]
    assert all(map(np.array_equal, result, frames))


def test_smoothers_run_one_after_the_other_over_all_shots() -> None:
    one, two, guides = Mean(), Mean(), [photo(1)] * 3 + [photo(2)] * 3
    smoothed(one, two).pictures(guides, guides)
    assert one.shots == two.shots == [3, 3]


def test_a_stop_is_heard_between_frames() -> None:
    def stop() -> None:
        raise Stopped("asked to stop")

    with pytest.raises(Stopped):
        smoothed(find_smoother("light"), check=stop).pictures([photo(1)] * 2, [photo(1)] * 2)


def test_an_unknown_smoother_is_told_with_the_nearest() -> None:
    with pytest.raises(JobError, match="no such smoother") as caught:
        find_smoother("fastblnd")
    assert caught.value.nearest == "fastblend"
