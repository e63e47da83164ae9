"""Every kind of source in, every kind of output out: sizes, exact times, and the very packets of the sound."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sakuga.cli.main import main
from sakuga.errors import OutputError
from sakuga.render.studio import Studio
from sakuga.spec.job import Job
from sakuga.video.pictures import read_picture
from sakuga.video.read import open_clip

QUICK: dict[str, Any] = {"motion": "none", "controls": ["tile"]}


def sound(path: Path) -> list[tuple[Fraction, bytes]]:
    """The time and the bytes of every packet of sound."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.audio) if packet.size]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in packets]


def times(path: Path) -> list[Fraction]:
    """When each frame is shown, as the container says it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sorted(packet.pts * stream.time_base for packet in container.demux(stream) if packet.size)


def render(studio: Studio, source: Path, output: Path, **job: Any) -> Path:
    assert studio.render(Job(source=source, stages=[QUICK], output=output, **job)).status == "rendered"
    return output


def size_of(path: Path) -> tuple[int, int]:
    with open_clip(path) as clip:
        return clip.width, clip.height


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_becomes_a_picture(studio: Studio, made: Any, suffix: str) -> None:
    source = made.picture("photo.jpg", size=(50, 37))
    output = render(studio, source, made.folder / f"toon{suffix}")
    assert read_picture(output).shape == (37, 50, 3)


def test_without_a_name_the_output_is_called_toon(
    made: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = made.picture("photo.png")
    elsewhere = made.folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(["render", str(source), "--motion", "none"]) == 0
    assert sorted(path.name for path in elsewhere.iterdir()) == ["photo-toon.png", "photo-toon.report.json"]


def test_a_folder_of_pictures_becomes_a_video_or_a_folder(studio: Studio, made: Any) -> None:
    source = made.pictures(3, size=(50, 38))
    film, folder = (render(studio, source, made.folder / name) for name in ("toon.mp4", "toons"))
    with open_clip(film) as clip:
        assert (clip.frame_count, clip.width, clip.height, clip.rate) == (3, 50, 38, Fraction(24))
    assert [path.name for path in sorted(folder.iterdir())] == ["000000.png", "000001.png", "000002.png"]
    lossless = np.stack([read_picture(path) for path in sorted(folder.iterdir())])
    with open_clip(film) as clip:
        apart = np.abs(np.stack([frame.pixels for frame in clip.frames()]).astype(int) - lossless)
    assert apart.mean() < 6, "the video shows what the pictures show"


@pytest.mark.parametrize("size", [(50, 37), (33, 64), (16, 16)])
def test_an_odd_size_comes_back_as_it_was(studio: Studio, made: Any, size: tuple[int, int]) -> None:
    source = made.film("odd.mp4", times=(0, 1024), size=size, sound=False)
    output = render(studio, source, made.folder / "toon.mp4")
    assert size_of(output) == size
    assert times(output) == times(source)


@pytest.mark.parametrize(("asked", "given"), [("32", (42, 32)), ("96", (128, 96)), ("48x48", (48, 36))])
def test_the_size_is_the_one_that_was_asked_for(
    studio: Studio, sources: Mapping[str, Path], tmp_path: Path, asked: str, given: tuple[int, int]
) -> None:
    output = tmp_path / "toon.png"
    report = studio.render(Job(source=sources["picture"], stages=[QUICK], output=output, size=asked))
    assert size_of(output) == given
    told = [note for note in report.notes if note.what == "size"]
    assert len(told) == ("x" in asked), "where the shape of the source leaves less than was asked for, it is told"


@pytest.mark.parametrize("source", ["film", "uneven"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_times_are_exact_and_the_sound_is_copied_bit_for_bit(
    studio: Studio, sources: Mapping[str, Path], tmp_path: Path, source: str, suffix: str
) -> None:
    report = studio.render(Job(source=sources[source], stages=[QUICK], output=tmp_path / f"toon{suffix}"))
    output = tmp_path / f"toon{suffix}"
    wanted, got = times(sources[source]), times(output)
    rounded = suffix == ".mkv"
    if rounded:
        assert any("rounded" in note.reason for note in report.notes)
        assert max(abs(one - other) for one, other in zip(wanted, got, strict=True)) <= Fraction(1, 2000)
    else:
        assert got == wanted
    assert [data for _, data in sound(output)] == [data for _, data in sound(sources[source])]
    if not rounded:
        assert [when for when, _ in sound(output)] == [when for when, _ in sound(sources[source])]


def test_a_part_has_its_own_part_of_the_sound(studio: Studio, sources: Mapping[str, Path], tmp_path: Path) -> None:
    first, end = 2, 6
    output = render(studio, sources["uneven"], tmp_path / "part.mp4", frames=(first, end))
    whole, shown = times(sources["uneven"]), times(output)
    begin, stop = whole[first], whole[end]
    assert shown == [when - begin for when in whole[first:end]]
    heard = [(when - begin, data) for when, data in sound(sources["uneven"]) if begin <= when < stop]
    got = sound(output)
    assert [data for _, data in got] == [data for _, data in heard]
    assert max(abs(one - other) for (one, _), (other, _) in zip(got, heard, strict=True)) <= Fraction(1, 48000)


def test_what_pictures_cannot_hold_is_told(studio: Studio, sources: Mapping[str, Path], tmp_path: Path) -> None:
    report = studio.render(Job(source=sources["film"], stages=[QUICK], output=tmp_path / "frames", frames=(0, 2)))
    told = " ".join(note.reason for note in report.notes)
    assert "sound is left out" in told and "no times" in told


def test_one_picture_for_many_frames_is_told_before_anything_is_loaded(
    studio: Studio, sources: Mapping[str, Path], tmp_path: Path
) -> None:
    job = Job(source=sources["pictures"], stages=[QUICK], output=tmp_path / "toon.png")
    with pytest.raises(OutputError, match="a picture holds one frame"):
        studio.check(job)


def test_the_source_is_never_written_over(studio: Studio, made: Any) -> None:
    source = made.picture("photo.png")
    before = source.read_bytes()
    with pytest.raises(OutputError, match="the source itself"):
        studio.render(Job(source=source, stages=[QUICK], output=source, overwrite=True))
    assert source.read_bytes() == before
