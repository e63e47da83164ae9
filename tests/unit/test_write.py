"""What is written: exact times, untouched sound, true colours; whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from sakuga.errors import OutputError, OutputExists
from sakuga.video.clip import Clip, Frame
from sakuga.video.outputs import check_output
from sakuga.video.pictures import encode_picture
from sakuga.video.read import open_clip
from sakuga.video.sound import SoundCopy
from sakuga.video.write import ClipWriter, write_picture

av = pytest.importorskip("av")
BASE = Fraction(1, 12288)


def film(
    path: Path,
    *,
    times: Sequence[int] = tuple(range(0, 12 * 1024, 1024)),
    base: Fraction = BASE,
    size: tuple[int, int] = (32, 24),
    codec: str = "libx264",
    sound: str | None = None,
    aspect: Fraction = Fraction(1),
    tags: tuple[int, int] = (2, 0),
) -> Path:
    """A video of grey pictures (level 20 + 9 n) at ``times``, with two seconds of sound from time 0."""
    with av.open(
        str(path), "w", container_options={"movie_timescale": "30000"} if path.suffix == ".mp4" else {}
    ) as out:
        video = out.add_stream(codec, rate=12)
        context = video.codec_context
        context.width, context.height = size
        context.pix_fmt = "yuv420p"
        context.time_base = video.time_base = base
        context.sample_aspect_ratio = aspect
        context.colorspace, context.color_range = tags
        context.color_primaries = context.color_trc = tags[0]
        audio = out.add_stream(sound, rate=48000) if sound else None
        for index, pts in enumerate(times):
            picture = av.VideoFrame.from_ndarray(
                np.full((size[1], size[0], 3), 20 + 9 * index, np.uint8), format="rgb24"
            )
            picture.pts, picture.time_base = pts, base
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
        if audio:
            wave = 0.3 * np.sin(np.arange(96000) ** 1.1 * 0.02)
            tone = av.AudioFrame.from_ndarray(
                wave.astype(np.float32)[None].repeat(2, 0), format="fltp", layout="stereo"
            )
            tone.sample_rate, tone.pts, tone.time_base = 48000, 0, Fraction(1, 48000)
            out.mux(audio.encode(tone))
            out.mux(audio.encode(None))
    return path


def copied(source: Path, output: Path, start: int = 0, stop: int | None = None) -> tuple[str, ...]:
    """The clip, or a part of it, through the writer; returns the notes."""
    with open_clip(source) as clip, ClipWriter(output, clip, clip.width, clip.height, start=start) as writer:
        for frame in clip.frames(start, stop):
            writer.write(frame)
    return writer.notes


def times(path: Path) -> list[Fraction]:
    with open_clip(path) as clip:
        return [frame.time for frame in clip.frames()]


def sound_of(path: Path) -> list[tuple[Fraction, str]]:
    """(begin in seconds, hash) of every sound packet."""
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.audio[0])
        return [(p.pts * p.time_base, hashlib.md5(bytes(p)).hexdigest()) for p in packets if p.size]


def left_behind(folder: Path, *expected: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) != sorted(expected)


UNEVEN = (0, 100, 300, 450, 1000, 1001, 1400)


@pytest.mark.parametrize(
    ("moments", "base"),
    [
        (UNEVEN, Fraction(1, 1000)),
        ([7 + 1001 * n for n in range(9)], Fraction(1, 30000)),
        ([1001 * n for n in range(5)], Fraction(1, 24000)),
        (range(6), Fraction(1, 12)),
        ([3, 4, 90000, 90001], Fraction(1, 90000)),
        ([5], Fraction(1, 25)),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_times_are_the_very_same_fractions(tmp_path: Path, suffix: str, moments: Sequence[int], base: Fraction) -> None:
    source = film(tmp_path / "a.mp4", times=list(moments), base=base)
    assert copied(source, tmp_path / f"b{suffix}") == ()
    assert times(tmp_path / f"b{suffix}") == times(source) == [pts * base for pts in moments]
    with open_clip(source) as clip, open_clip(tmp_path / f"b{suffix}") as copy:
        assert copy.time_base == clip.time_base
        assert copy.pts_at(copy.frame_count) == clip.pts_at(clip.frame_count), "the last frame lasts as long"


def test_matroska_keeps_milliseconds_and_says_when_that_rounds(tmp_path: Path) -> None:
    exact = film(tmp_path / "a.mkv", times=UNEVEN, base=Fraction(1, 1000))
    for name in ("b.mkv", "b.webm"):
        assert copied(exact, tmp_path / name) == ()
        assert times(tmp_path / name) == times(exact)
    finer = film(tmp_path / "a.mp4")
    (note,) = copied(finer, tmp_path / "c.mkv")
    assert "milliseconds" in note
    assert all(abs(a - b) <= Fraction(1, 2000) for a, b in zip(times(tmp_path / "c.mkv"), times(finer), strict=True))


@pytest.mark.parametrize(
    ("source", "sound"), [("a.mp4", "aac"), ("a.mkv", "aac"), ("a.mkv", "libopus"), ("a.avi", "libmp3lame")]
)
@pytest.mark.parametrize("target", ["b.mp4", "b.mkv"])
def test_sound_is_copied_bit_for_bit(tmp_path: Path, source: str, sound: str, target: str) -> None:
    avi = source.endswith("avi")
    base, codec = (Fraction(1, 12), "mpeg4") if avi else (Fraction(1, 1000), "libx264")
    path = film(tmp_path / source, sound=sound, base=base, times=[n if avi else 83 * n for n in range(12)], codec=codec)
    copied(path, tmp_path / target)
    before, after = sound_of(path), sound_of(tmp_path / target)
    assert [digest for _, digest in after] == [digest for _, digest in before]
    assert len(before) > 40, "longer than the pictures, and all of it"
    assert max(abs(a - b) for (a, _), (b, _) in zip(after, before, strict=True)) <= Fraction(1, 900)
    assert abs(times(tmp_path / target)[0] - times(path)[0]) <= Fraction(1, 2000), "sound before 0 moves no picture"


def test_a_part_begins_where_the_source_does_with_its_own_sound(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", sound="aac", times=[600 + 1024 * n for n in range(20)])
    before, whole = sound_of(source), times(source)
    copied(source, tmp_path / "b.mp4", 5, 14)
    shift = whole[5] - whole[0]
    assert times(tmp_path / "b.mp4") == [time - shift for time in whole[5:14]]
    wanted = [(begin, digest) for begin, digest in before if whole[5] <= begin < whole[14]]
    after = sound_of(tmp_path / "b.mp4")
    assert [digest for _, digest in after] == [digest for _, digest in wanted]
    assert all(abs(a - (b - shift)) < Fraction(1, 20000) for (a, _), (b, _) in zip(after, wanted, strict=True))
    with open_clip(tmp_path / "b.mp4") as part:
        assert (part.pts_at(9) - part.pts_at(0)) * part.time_base == whole[14] - whole[5]


def test_the_first_frames_alone_keep_their_times_and_lose_later_sound(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", sound="aac")
    copied(source, tmp_path / "b.mp4", 0, 4)
    assert times(tmp_path / "b.mp4") == times(source)[:4]
    after = sound_of(tmp_path / "b.mp4")
    assert [digest for _, digest in after] == [d for begin, d in sound_of(source) if begin < Fraction(4, 12)]


@pytest.mark.parametrize(
    ("sound", "target", "kept"), [("aac", "b.webm", False), ("libopus", "b.webm", True), ("libopus", "b.mov", False)]
)
def test_sound_that_a_container_cannot_hold_is_told(tmp_path: Path, sound: str, target: str, kept: bool) -> None:
    source = film(tmp_path / "a.mkv", sound=sound, base=Fraction(1, 1000), times=[80 * n for n in range(6)])
    notes = copied(source, tmp_path / target)
    with open_clip(tmp_path / target) as copy:
        assert copy.has_audio == kept
        assert copy.frame_count == 6
    assert bool(notes) != kept
    assert kept or (sound.removeprefix("lib") in notes[0] and target[1:] in notes[0])


@pytest.mark.parametrize("tags", [(1, 1), (6, 1), (5, 2), (9, 1), (2, 0)])
@pytest.mark.parametrize("target", ["b.mp4", "b.webm"])
def test_colours_come_back_under_the_tags_of_the_source(tmp_path: Path, tags: tuple[int, int], target: str) -> None:
    source = film(tmp_path / "a.mkv", tags=tags, times=[0], base=Fraction(1, 1000))
    colour = np.zeros((24, 32, 3), np.uint8)
    colour[:] = (210, 90, 30)
    with open_clip(source) as clip, ClipWriter(tmp_path / target, clip, 32, 24) as writer:
        for frame in clip.frames():
            writer.write(dataclasses.replace(frame, pixels=colour))
    with open_clip(source) as clip, open_clip(tmp_path / target) as copy:
        (frame,) = copy.frames()
        assert np.abs(frame.pixels.astype(int) - colour).max() <= 3
        assert copy.colour == dataclasses.replace(clip.colour, full_range=False)
    with av.open(str(tmp_path / target)) as container:
        picture = next(container.decode(video=0))
        assert picture.color_range == 1
        assert picture.colorspace == clip.colour.matrix


def test_the_shape_of_pixels_is_kept_or_told(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", aspect=Fraction(4, 3))
    for target in ("b.mp4", "b.mov"):
        assert copied(source, tmp_path / target) == ()
        with open_clip(tmp_path / target) as copy:
            assert copy.pixel_aspect == Fraction(4, 3)
    assert any("4/3" in note for note in copied(source, tmp_path / "b.webm"))


@pytest.mark.parametrize("size", [(33, 31), (32, 31), (1, 1), (2, 2), (40, 26)])
@pytest.mark.parametrize("target", ["b.mp4", "b.webm"])
def test_any_size_is_kept(tmp_path: Path, size: tuple[int, int], target: str) -> None:
    source = film(tmp_path / "a.mkv", times=[0, 80], base=Fraction(1, 1000))
    pixels = np.full((size[1], size[0], 3), (30, 160, 90), np.uint8)
    with open_clip(source) as clip, ClipWriter(tmp_path / target, clip, *size) as writer:
        for frame in clip.frames():
            writer.write(dataclasses.replace(frame, pixels=pixels))
    with open_clip(tmp_path / target) as copy:
        assert (copy.width, copy.height, copy.frame_count) == (*size, 2)
        assert np.abs(next(copy.frames()).pixels.astype(int) - pixels).max() <= 4
    odd = size[0] % 2 or size[1] % 2
    assert bool(writer.notes) == bool(odd and target == "b.mp4"), "4:4:4 is told"


def test_a_video_can_be_played_before_it_is_loaded(tmp_path: Path) -> None:
    copied(film(tmp_path / "a.mkv"), tmp_path / "b.mp4")
    data = (tmp_path / "b.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_a_picture_becomes_a_video_of_one_frame_and_back(tmp_path: Path) -> None:
    pixels = np.full((24, 32, 3), (30, 160, 90), np.uint8)
    write_picture(tmp_path / "a.png", pixels)
    copied(tmp_path / "a.png", tmp_path / "b.mp4")
    copied(tmp_path / "b.mp4", tmp_path / "c.png")
    with open_clip(tmp_path / "b.mp4") as video, open_clip(tmp_path / "c.png") as picture:
        assert (video.kind, picture.kind, video.frame_count) == ("video", "picture", 1)
        assert video.pts_at(1) * video.time_base == Fraction(1, 24)
        assert np.abs(next(picture.frames()).pixels.astype(int) - pixels).max() <= 3


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG"])
def test_a_picture_is_written(tmp_path: Path, suffix: str) -> None:
    pixels = np.full((9, 7, 3), (200, 30, 60), np.uint8)
    write_picture(tmp_path / f"a{suffix}", pixels)
    stored = cv2.imread(str(tmp_path / f"a{suffix}"))[..., ::-1]
    assert np.abs(stored.astype(int) - pixels).max() <= (0 if suffix == ".png" else 3)
    with pytest.raises(OutputExists):
        write_picture(tmp_path / f"a{suffix}", pixels)
    write_picture(tmp_path / f"a{suffix}", pixels, overwrite=True)
    with pytest.raises(OutputError):
        write_picture(tmp_path / "a.mp4", pixels)
    assert not left_behind(tmp_path, f"a{suffix}")


def test_a_picture_holds_one_frame(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", sound="aac")
    with pytest.raises(OutputError, match="one frame"):
        copied(source, tmp_path / "b.png")
    assert not left_behind(tmp_path, "a.mp4")
    (note,) = copied(source, tmp_path / "b.png", 3, 4)
    assert "sound" in note
    with open_clip(tmp_path / "b.png") as picture:
        assert abs(int(next(picture.frames()).pixels.mean()) - 47) <= 3


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", sound="aac")
    notes = copied(source, tmp_path / "frames", 2, 5)
    assert [path.name for path in sorted((tmp_path / "frames").iterdir())] == [f"00000{n}.png" for n in (2, 3, 4)]
    assert len(notes) == 2
    assert any("sound" in note for note in notes)
    assert any("12 frames a second" in note for note in notes)
    with open_clip(tmp_path / "frames") as folder, open_clip(source) as clip:
        for one, other in zip(folder.frames(), clip.frames(2, 5), strict=True):
            assert np.array_equal(one.pixels, other.pixels)


def test_a_folder_is_replaced_only_if_nothing_else_is_in_it(tmp_path: Path) -> None:
    source, out = film(tmp_path / "a.mp4"), tmp_path / "frames"
    out.mkdir()
    copied(source, out, 0, 3)
    with pytest.raises(OutputExists):
        check_output(out)
    check_output(out, overwrite=True)
    (out / "thesis.doc").write_text("years of work")
    with pytest.raises(OutputError, match="not ours to replace") as caught:
        check_output(out, overwrite=True)
    assert "thesis.doc" in str(caught.value.given)
    (out / "thesis.doc").unlink()
    with open_clip(source) as clip, ClipWriter(out, clip, 32, 24, overwrite=True) as writer:
        writer.write(next(clip.frames()))
    assert [path.name for path in out.iterdir()] == ["000000.png"]


@pytest.mark.parametrize(
    ("name", "words", "nearest"),
    [
        ("a.gif", "GIF is not written", "a.mp4"),
        ("a.mp5", "not known", ".mp4"),
        ("a.pgn", "not known", ".png"),
        ("a.avi", "not known", None),
        ("frames-%05d.png", "folder", None),
        ("%d", "folder", None),
        ("nowhere/a.mp4", "no folder", None),
        ("folder.mp4", "is a folder", None),
    ],
)
def test_a_name_that_cannot_be_written_is_refused_with_advice(
    tmp_path: Path, name: str, words: str, nearest: str | None
) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match=words) as caught:
        check_output(tmp_path / name)
    assert caught.value.given and caught.value.do
    assert nearest is None or caught.value.nearest == nearest
    assert not left_behind(tmp_path, "folder.mp4")


def test_more_frames_than_a_picture_holds_are_refused_before_anything_is_rendered(tmp_path: Path) -> None:
    check_output(tmp_path / "a.png", frames=1)
    with pytest.raises(OutputError, match="one frame"):
        check_output(tmp_path / "a.png", frames=2)


def test_an_existing_output_is_not_overwritten_unasked(tmp_path: Path) -> None:
    source, target = film(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    target.write_text("mine")
    with open_clip(source) as clip:
        with pytest.raises(OutputExists) as caught:
            ClipWriter(target, clip, 32, 24)
        assert "--overwrite" in str(caught.value.do)
        assert target.read_text() == "mine"
        with ClipWriter(target, clip, 32, 24, overwrite=True) as writer:
            for frame in clip.frames():
                writer.write(frame)
                assert target.read_text() == "mine", "not before all is written"
    assert times(target) == times(source)
    assert not left_behind(tmp_path, "a.mp4", "b.mp4")


def test_an_output_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    source, target = film(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    with open_clip(source) as clip, pytest.raises(OutputExists), ClipWriter(target, clip, 32, 24) as writer:
        writer.write(next(clip.frames()))
        target.write_text("another's")
    assert target.read_text() == "another's"
    assert not left_behind(tmp_path, "a.mp4", "b.mp4")


def test_the_source_is_never_the_output(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").symlink_to(source)
    with open_clip(source) as clip:
        for name in ("a.mp4", "b.mp4"):
            with pytest.raises(OutputError, match="the source itself"):
                ClipWriter(tmp_path / name, clip, 32, 24, overwrite=True)


def test_a_matroska_file_is_as_long_as_the_source(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", times=(0, 100, 200, 900), base=Fraction(1, 1000))
    with open_clip(source) as clip:
        end_seconds = clip.pts_at(4) * clip.time_base
    assert end_seconds > 1, "the last frame does not last as long as most"
    copied(source, tmp_path / "b.mkv")
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert container.duration == end_seconds * 1_000_000


def open_below(folder: Path) -> list[str]:
    """The files below ``folder`` that this process holds open."""
    here = Path("/proc/self/fd")
    if not here.is_dir():
        pytest.skip("no /proc to look into")
    targets = [os.readlink(link) for link in here.iterdir() if link.exists()]
    return [target for target in targets if target.startswith(str(folder))]


@pytest.mark.parametrize("fails", [False, True])
def test_no_file_stays_open(tmp_path: Path, fails: bool) -> None:
    source = film(tmp_path / "a.mp4", sound="aac")
    with open_clip(source) as clip:
        writer = ClipWriter(tmp_path / "b.mp4", clip, 32, 24)
        with contextlib.suppress(KeyboardInterrupt), writer:
            for frame in clip.frames():
                writer.write(frame)
            assert len(open_below(tmp_path)) == 2, "the source for its sound, and the output"
            if fails:
                raise KeyboardInterrupt
        assert open_below(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.png", "b"])
@pytest.mark.parametrize("written", [0, 1])
def test_an_error_leaves_nothing_behind(tmp_path: Path, error: type[BaseException], name: str, written: int) -> None:
    source = film(tmp_path / "a.mp4", sound="aac", times=[0, 1024, 2048])
    with open_clip(source) as clip, pytest.raises(error), ClipWriter(tmp_path / name, clip, 32, 24) as writer:
        for frame in clip.frames(0, written):
            writer.write(frame)
        raise error
    assert not left_behind(tmp_path, "a.mp4")


def test_other_peoples_errors_stay_what_they_are(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4")
    with open_clip(source) as clip, pytest.raises(FileNotFoundError), ClipWriter(tmp_path / "b.mp4", clip, 32, 24):
        (tmp_path / "weights").read_bytes()


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4")
    with (
        open_clip(source) as clip,
        pytest.raises(OutputError, match="no frame"),
        ClipWriter(tmp_path / "b.mp4", clip, 32, 24),
    ):
        pass
    assert not left_behind(tmp_path, "a.mp4")


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from sakuga.errors import OutputError
from sakuga.video.clip import Frame
from sakuga.video.read import open_clip
from sakuga.video.write import ClipWriter
source, target, limit, side = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), 96
random = np.random.default_rng(0)
with open_clip(source) as clip:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        with ClipWriter(target, clip, side, side) as writer:
            for frame in clip.frames():
                pixels = random.integers(0, 256, (side, side, 3)).astype(np.uint8)
                writer.write(Frame(index=frame.index, pts=frame.pts, time_base=frame.time_base, pixels=pixels))
    except OutputError as error:
        print(error.told())
        sys.exit(2)
"""


@pytest.mark.parametrize("limit", [1_000, 60_000])
@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "frames"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, name: str, limit: int) -> None:
    if sys.platform == "win32":
        pytest.skip("no limit on the size of files here")
    source = film(tmp_path / "a.mp4", sound="aac")
    limit = min(limit, 20_000) if name == "frames" else limit
    command = [sys.executable, "-c", FULL_DISK, str(source), str(tmp_path / name), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "no room" in done.stdout and "do " in done.stdout
    assert done.stderr == ""
    assert not left_behind(tmp_path, "a.mp4")


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "no room"), (errno.EACCES, "no right"), (errno.EIO, "could not")]
)
@pytest.mark.parametrize("name", ["b.mp4", "b.png", "b"])
def test_what_the_system_says_on_the_way_to_the_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int, words: str
) -> None:
    source = film(tmp_path / "a.mp4")

    def fails(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OutputError, match=words):
        copied(source, tmp_path / name, 0, 1)
    assert not left_behind(tmp_path, "a.mp4")


def test_a_folder_without_the_right_to_write_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(OutputError, match="cannot be written to"):
        check_output(tmp_path / "a.mp4")


def test_wrong_use_is_our_own_mistake(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4")
    with open_clip(source) as clip:
        first, second = clip.frames(0, 2)
        with pytest.raises(AssertionError), ClipWriter(tmp_path / "b.mp4", clip, 16, 16) as writer:
            writer.write(first)
        with pytest.raises(AssertionError), ClipWriter(tmp_path / "b.mp4", clip, 32, 24) as writer:
            writer.write(second)
            writer.write(first)
        with pytest.raises(AssertionError):
            ClipWriter(tmp_path / "b.mp4", clip, 32, 24).write(first)
    assert not left_behind(tmp_path, "a.mp4")


def packet(pts: int | None, dts: int | None = None, *, stream: int = 1) -> SimpleNamespace:
    base = Fraction(1, 10)
    return SimpleNamespace(pts=pts, dts=pts if dts is None else dts, duration=2, stream_index=stream, time_base=base)


def test_sound_is_handed_on_when_its_time_has_come() -> None:
    sent: list[int] = []
    asked: list[int] = []

    def packets() -> Iterator[SimpleNamespace]:
        for pts in (-1, 0, 2, 4, 6):
            asked.append(pts)
            yield packet(pts)

    copy = SoundCopy(packets=packets(), send=lambda one: sent.append(one.pts), begin=None, shift=Fraction(0))
    copy.until(Fraction(2, 10))
    assert (sent, asked) == ([-1, 0], [-1, 0, 2]), "no further than needed"
    copy.until(Fraction(5, 10))
    assert sent == [-1, 0, 2, 4]
    copy.until(None)
    assert sent == [-1, 0, 2, 4, 6]
    assert copy.notes() == ()


def test_sound_without_proper_times_is_left_out_and_told() -> None:
    sent: list[SimpleNamespace] = []
    source = [packet(0), packet(0), packet(None), packet(1, stream=2), packet(3)]
    copy = SoundCopy(packets=iter(source), send=sent.append, begin=None, shift=Fraction(0))
    copy.until(None)
    assert [(one.pts, one.stream_index) for one in sent] == [(0, 1), (1, 2), (3, 1)]
    assert copy.notes() == ("2 packets of sound are left out: their times are missing or do not rise",)


def test_a_shift_finer_than_the_ticks_of_the_sound_is_kept() -> None:
    sent: list[SimpleNamespace] = []
    copy = SoundCopy(
        packets=iter([packet(4), packet(6)]), send=sent.append, begin=Fraction(5, 10), shift=Fraction(1, 3)
    )
    copy.until(None)
    (one,) = sent
    assert one.pts * one.time_base == Fraction(6, 10) - Fraction(1, 3)
    assert one.duration * one.time_base == Fraction(2, 10)


def test_a_clip_of_pictures_is_written_as_a_video(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(4):
        (folder / f"{index}.png").write_bytes(encode_picture(np.full((24, 32, 3), 40 * index, np.uint8), ".png"))
    with open_clip(folder, rate=Fraction(30000, 1001)) as clip:
        written: Clip = clip
        with ClipWriter(tmp_path / "b.mp4", written, 32, 24) as writer:
            for frame in clip.frames():
                assert isinstance(frame, Frame)
                writer.write(frame)
    assert times(tmp_path / "b.mp4") == [Fraction(1001 * n, 30000) for n in range(4)]
