"""The whole demo, as a new user runs it: two videos, a pair, a sheet and the reports, on the clip in the package."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sakuga.cli.demo import SHEET_FRAMES, STACK
from sakuga.cli.main import main
from sakuga.models.library import STARTER
from sakuga.render.studio import sha256_of
from sakuga.video.pictures import read_picture
from sakuga.video.read import open_clip

CLIP = STARTER / "demo.mp4"
MOST_FRAMES, LONGEST_SIDE = 48, 256
LOOKS = ("plain", "toon")
TIMES_AS_FAR = 2  # at least: how much more the LoRAs change than the base alone


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", "-o", str(folder)]) == 0
    return folder


def packets(path: Path, kind: str) -> list[tuple[Fraction, Fraction, bytes]]:
    """Time, duration and bytes of every packet of a kind of stream, in the order of their times."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        held = [packet for packet in container.demux(stream) if packet.size]
        base = stream.time_base
        return sorted((packet.pts * base, (packet.duration or 0) * base, bytes(packet)) for packet in held)


def frames(path: Path) -> np.ndarray:
    with open_clip(path) as clip:
        return np.stack([frame.pixels for frame in clip.frames()]).astype(np.int16)


def test_the_clip_is_what_a_demo_can_be() -> None:
    with open_clip(CLIP) as clip:
        assert 0 < clip.frame_count <= MOST_FRAMES
        assert max(clip.width, clip.height) <= LONGEST_SIDE
        assert clip.has_audio and clip.notes == ()


@pytest.mark.parametrize("name", ["demo-plain.mp4", "demo-toon.mp4", "demo-side-by-side.mp4"])
def test_a_video_has_the_frames_times_and_sound_of_the_source(out: Path, name: str) -> None:
    with open_clip(CLIP) as source, open_clip(out / name) as video:
        assert video.frame_count == source.frame_count
        wide = 2 if "side" in name else 1
        assert (video.width, video.height) == (wide * source.width, source.height)
        shown, wanted = ([clip.pts_at(i) * clip.time_base for i in range(clip.frame_count)] for clip in (video, source))
        assert shown == wanted
    assert packets(out / name, "audio") == packets(CLIP, "audio")


def test_everything_that_is_told_is_there_and_nothing_else(out: Path, left_in: Callable[[Path], list[str]]) -> None:
    videos = [f"demo-{look}.mp4" for look in LOOKS]
    reports = [f"demo-{look}.report.json" for look in LOOKS]
    assert left_in(out) == sorted([*videos, *reports, "demo-side-by-side.mp4", "demo-sheet.png"])


def test_the_pair_shows_source_and_result(out: Path) -> None:
    pair, source, toon = (frames(path) for path in (out / "demo-side-by-side.mp4", CLIP, out / "demo-toon.mp4"))
    width = source.shape[2]
    assert np.abs(pair[:, :, :width] - source).mean() < 6
    assert np.abs(pair[:, :, width:] - toon).mean() < 6


def test_the_sheet_shows_three_rows_of_moments(out: Path) -> None:
    with open_clip(CLIP) as clip:
        width, height = clip.width, clip.height
    sheet = read_picture(out / "demo-sheet.png")
    assert sheet.shape[1] >= SHEET_FRAMES * width
    assert 3 * height < sheet.shape[0] < 4 * height + 200
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 1000, "there is something to see"


@pytest.mark.parametrize("look", LOOKS)
def test_the_reports_say_what_was_used(out: Path, look: str) -> None:
    report: dict[str, Any] = json.loads((out / f"demo-{look}.report.json").read_text(encoding="utf-8"))
    video = out / f"demo-{look}.mp4"
    assert (report["schema"], report["status"], report["output"]) == (1, "rendered", str(video))
    assert report["output_sha256"] == sha256_of(video)
    names = [short.partition(":")[0] for short in STACK] if look == "toon" else []
    assert [adapter["name"] for adapter in report["adapters"]] == names
    for adapter in report["adapters"]:
        keys = adapter["keys"]
        assert keys["used"] == keys["total"] and not keys["ignored"] and not keys["refused"], "the LoRAs fit wholly"
    (stage,) = report["stages"]
    assert {control.partition(":")[0] for control in stage["controls"]} == {"tile", "lineart"}
    assert stage["motion"] != "none"
    assert {"base", "control"} <= {model["role"].split()[0] for model in report["models"]}


def test_the_loras_change_the_clip_at_least_twice_as_much_as_the_base_alone(out: Path) -> None:
    source = frames(CLIP)
    plain, toon = (np.abs(frames(out / f"demo-{look}.mp4") - source).mean() for look in LOOKS)
    print(f"mean change against the source: {plain:.2f} without, {toon:.2f} with LoRAs, {toon / plain:.2f} times")
    assert toon >= TIMES_AS_FAR * plain


def test_again_nothing_is_rendered_and_no_result_is_touched(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = [out / f"demo-{look}{suffix}" for look in LOOKS for suffix in (".mp4", ".report.json")]
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in results]
    assert main(["demo", "-o", str(out)]) == 0
    told, shown = capsys.readouterr()
    assert told.startswith("there already: ") and "Try next:" in told
    assert [path.name for path in out.iterdir() if f"  {path}  " not in told] == [], "all that lies there is listed"
    labels = [line.partition(": ")[0] for line in shown.splitlines()]
    assert labels == ["without LoRA", "with celcomic:1 ink:0.2"], "each run says which it is"
    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in results] == before


def test_a_folder_that_cannot_be_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("a file")
    assert main(["demo", "-o", str(tmp_path / "taken")]) == 2
    assert "OutputError: " in capsys.readouterr().err
