"""What every kind of clip promises: exact frames, times and sizes, from any start, one at a time, and files closed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sakuga.errors import ClipError
from sakuga.video.clip import Frame
from sakuga.video.pictures import encode_picture
from sakuga.video.read import open_clip
from sakuga.video.write import ClipWriter

av = pytest.importorskip("av")
MS = Fraction(1, 1000)
SOUND_SECONDS = 1


def drawn(index: int, width: int, height: int) -> np.ndarray:
    """A picture that tells its number by its colour, and up from down and left from right by a light corner."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = (40 + 8 * index, 190 - 6 * index, 90)
    pixels[: height // 2, : width // 2] = (250, 220, 200 - 5 * index)
    return pixels


@dataclass(frozen=True, kw_only=True)
class Film:
    """How to make a video of ``drawn`` pictures, one at each of ``times`` (ticks of ``base``)."""

    suffix: str = ".mp4"
    times: Sequence[int] = tuple(range(0, 12 * 1024, 1024))
    base: Fraction = Fraction(1, 12288)
    size: tuple[int, int] = (48, 32)
    codec: str = "libx264"
    options: tuple[tuple[str, str], ...] = ()
    pixels: str = "yuv420p"
    sound: str | None = None
    turned: int | None = None
    mirrored: bool = False
    aspect: Fraction = Fraction(1)
    container: tuple[tuple[str, str], ...] = ()

    def write(self, folder: Path) -> Path:
        path = folder / f"film{self.suffix}"
        with av.open(str(path), "w", container_options=dict(self.container)) as out:
            video = out.add_stream(self.codec, rate=12, options=dict(self.options))
            context = video.codec_context
            context.width, context.height = self.size
            context.pix_fmt = self.pixels
            context.time_base = video.time_base = self.base
            context.sample_aspect_ratio = self.aspect
            if self.turned is not None:
                video.set_display_rotation(self.turned, hflip=self.mirrored)
            sound = out.add_stream(self.sound, rate=48000) if self.sound else None
            for index, pts in enumerate(self.times):
                picture = av.VideoFrame.from_ndarray(drawn(index, *self.size), format="rgb24")
                picture.pts, picture.time_base = pts, self.base
                out.mux(video.encode(picture))
            out.mux(video.encode(None))
            if sound:
                out.mux(sound.encode(tone()))
                out.mux(sound.encode(None))
        return path


def tone() -> object:
    wave = 0.3 * np.sin(np.arange(48000 * SOUND_SECONDS) * 0.06)
    frame = av.AudioFrame.from_ndarray(np.repeat(wave.astype(np.float32)[None], 2, 0), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    return frame


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of clip: how it is made and what must come out of it."""

    make: Callable[[Path], Path]
    times: tuple[Fraction, ...]
    size: tuple[int, int] = (48, 32)
    shown: Callable[[np.ndarray], np.ndarray] = lambda pixels: pixels
    sound: bool = False
    kind: str = "video"
    noted: bool = False


def of(film: Film, **changed: object) -> Kind:
    times = tuple(pts * film.base for pts in film.times)
    given: dict[str, object] = {"make": film.write, "times": times, "size": film.size, "sound": bool(film.sound)}
    return Kind(**(given | changed))  # type: ignore[arg-type]


def pictures(folder: Path) -> Path:
    path = folder / "pictures"
    path.mkdir()
    for index, name in enumerate(("a1.png", "a2.PNG", "a10.webp", "b.jpg", "c.JPEG")):
        (path / name).write_bytes(encode_picture(drawn(index, 48, 32), Path(name).suffix.lower()))
    return path


def picture(folder: Path) -> Path:
    path = folder / "one.jpg"
    path.write_bytes(encode_picture(drawn(0, 33, 31), ".jpg"))
    return path


VP9 = Film(
    suffix=".webm", codec="libvpx-vp9", times=[83 * n for n in range(6)], base=MS, size=(33, 31), sound="libopus"
)
VP8 = Film(
    suffix=".webm", codec="libvpx", times=[40 * n for n in range(12)], base=MS, options=(("g", "1"), ("crf", "4"))
)


def hidden_frames(folder: Path) -> Path:
    """Before every fourth frame another one that only prepares the decoder, as VP8's alternative references are."""
    path = folder / "hidden.webm"
    with av.open(str(VP8.write(folder))) as source, av.open(str(path), "w") as out:
        copy = out.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.size and packet.pts % 160 == 0 and packet.pts:
                data = bytearray(bytes(packet))
                data[0] &= ~0x10  # show_frame, RFC 6386 section 9.1
                hidden = av.Packet(len(data))
                hidden.update(bytes(data))
                hidden.pts = hidden.dts = packet.pts - 20
                hidden.time_base, hidden.stream, hidden.is_keyframe = packet.time_base, copy, True
                out.mux(hidden)
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    return path


UNEVEN = (0, 100, 300, 450, 1000, 1001, 1400)
MOVIE_TICKS = (("movie_timescale", "30000"),)
B_FRAMES = (("bf", "3"), ("b-adapt", "0"))
LATE = Film(times=range(5555, 14000, 1001), base=Fraction(1, 30000), options=B_FRAMES, container=MOVIE_TICKS)
KINDS = {
    "with sound": of(Film(sound="aac")),
    "without sound": of(Film()),
    "B-frames, starting late": of(LATE),
    "many key frames": of(Film(options=(("g", "3"), *B_FRAMES))),
    "open groups of pictures": of(Film(options=(("g", "4"), ("x264-params", "open-gop=1:bframes=3:b-adapt=0")))),
    "uneven times": of(Film(times=UNEVEN, base=MS, options=B_FRAMES)),
    "uneven times in Matroska": of(Film(suffix=".mkv", times=UNEVEN, base=MS, options=B_FRAMES)),
    "Matroska, starting late, with sound": of(
        Film(suffix=".mkv", times=[55 + 40 * n for n in range(8)], base=MS, sound="aac")
    ),
    "WebM of an odd size": of(VP9),
    "VP8, with packets that show nothing": of(VP8, make=hidden_frames),
    "AVI without pts": of(
        Film(suffix=".avi", codec="mpeg4", times=range(8), base=Fraction(1, 12), options=(("bf", "2"),)),
        times=tuple(Fraction(n + 1, 12) for n in range(8)),
    ),
    "transport stream": of(
        Film(suffix=".ts", times=[7500 * n for n in range(8)], base=Fraction(1, 90000), sound="aac"),
        times=tuple(Fraction(15000 + 7500 * n, 90000) for n in range(8)),
    ),
    "bare H.264 without times": of(
        Film(suffix=".h264", times=range(8)), times=tuple(Fraction(n, 25) for n in range(8)), noted=True
    ),
    "one frame": of(Film(times=(0,))),
    "an odd size": of(Film(size=(33, 31), pixels="yuv444p")),
    "ten bits": of(Film(pixels="yuv420p10le")),
    "lossless RGB": of(Film(suffix=".mkv", codec="ffv1", pixels="bgr0", times=[83 * n for n in range(5)], base=MS)),
    "turned left": of(Film(turned=90), size=(32, 48), shown=lambda pixels: np.rot90(pixels)),
    "turned right": of(Film(turned=-90), size=(32, 48), shown=lambda pixels: np.rot90(pixels, -1)),
    "upside down": of(Film(turned=180), shown=lambda pixels: pixels[::-1, ::-1]),
    "mirrored": of(Film(turned=0, mirrored=True), shown=lambda pixels: pixels[:, ::-1]),
    "a folder of pictures": Kind(make=pictures, times=tuple(Fraction(n, 24) for n in range(5)), kind="folder"),
    "one picture": Kind(make=picture, times=(Fraction(0),), size=(33, 31), kind="picture"),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Kind, Path]:
    kind = KINDS[request.param]
    return kind, kind.make(tmp_path_factory.mktemp("clip"))


def open_files(path: Path) -> int:
    """How many of this process's open files are ``path`` or in it."""
    here = Path("/proc/self/fd")
    if not here.is_dir():
        pytest.skip("no /proc to look into")
    targets = [os.readlink(link) for link in here.iterdir() if link.exists()]
    return sum(target.startswith(str(path)) for target in targets)


class TestEveryClip:
    def test_says_what_it_is(self, kind: tuple[Kind, Path]) -> None:
        wanted, path = kind
        with open_clip(path) as clip:
            assert (clip.path, clip.kind, clip.has_audio) == (path, wanted.kind, wanted.sound)
            assert (clip.width, clip.height, clip.frame_count) == (*wanted.size, len(wanted.times))
            assert bool(clip.notes) == wanted.noted
            assert clip.pixel_aspect == 1 and clip.rate > 0

    def test_shows_every_frame_at_its_exact_time(self, kind: tuple[Kind, Path]) -> None:
        wanted, path = kind
        with open_clip(path) as clip:
            frames = list(clip.frames())
            assert tuple(frame.time for frame in frames) == wanted.times
            assert all(isinstance(frame.time, Fraction) for frame in frames)
            assert [frame.index for frame in frames] == list(range(clip.frame_count))
            assert [clip.pts_at(frame.index) for frame in frames] == [frame.pts for frame in frames]
            assert clip.pts_at(clip.frame_count) > frames[-1].pts
            assert {frame.time_base for frame in frames} == {clip.time_base}

    def test_shows_the_right_pictures(self, kind: tuple[Kind, Path]) -> None:
        wanted, path = kind
        stored = wanted.size if wanted.shown(np.empty((2, 4, 3))).shape == (2, 4, 3) else wanted.size[::-1]
        with open_clip(path) as clip:
            for frame in clip.frames():
                assert frame.pixels.dtype == np.uint8
                assert frame.pixels.flags.c_contiguous
                expected = wanted.shown(drawn(frame.index, *stored))
                assert frame.pixels.shape == expected.shape == (clip.height, clip.width, 3)
                difference = np.abs(frame.pixels.astype(int) - expected).mean()
                assert difference < 5, (frame.index, difference)

    def test_begins_anywhere_with_the_very_same_frames(self, kind: tuple[Kind, Path]) -> None:
        _, path = kind
        with open_clip(path) as clip:
            whole = list(clip.frames())
            for start in {0, 1, 3, 4, 7, clip.frame_count - 1} & set(range(clip.frame_count)):
                part = list(clip.frames(start, min(start + 2, clip.frame_count)))
                assert len(part) == min(2, clip.frame_count - start)
                assert all(same(one, whole[one.index]) for one in part)
                assert part[0].index == start
            assert list(clip.frames(clip.frame_count)) == []
            assert list(clip.frames(0, 0)) == []

    def test_runs_do_not_disturb_one_another(self, kind: tuple[Kind, Path]) -> None:
        _, path = kind
        with open_clip(path) as clip:
            for one, other in zip(clip.frames(), clip.frames(), strict=True):
                assert same(one, other)

    def test_refuses_frames_that_it_does_not_have(self, kind: tuple[Kind, Path]) -> None:
        _, path = kind
        with open_clip(path) as clip:
            for start, stop in ((-1, None), (0, clip.frame_count + 1), (clip.frame_count + 1, None), (1, 0)):
                with pytest.raises(ClipError, match="does not have these frames"):
                    clip.frames(start, stop)

    def test_lets_go_of_its_files(self, kind: tuple[Kind, Path]) -> None:
        _, path = kind
        with open_clip(path) as clip:
            assert open_files(path) == 0
            list(clip.frames())
            assert open_files(path) == 0
            run = clip.frames()
            next(run)
        assert open_files(path) == 0

    def test_knows_its_content(self, kind: tuple[Kind, Path], tmp_path: Path) -> None:
        _, path = kind
        copy = tmp_path / path.name
        (shutil.copytree if path.is_dir() else shutil.copy)(path, copy)
        with open_clip(path) as clip, open_clip(copy) as same_clip:
            key = clip.content_key
            assert same_clip.content_key == key
            assert len(key) == 64
        if path.is_file():
            assert key == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_keeps_its_times_through_the_writer(self, kind: tuple[Kind, Path], tmp_path: Path) -> None:
        wanted, path = kind
        output = tmp_path / "copy.mp4"
        with open_clip(path) as clip, ClipWriter(output, clip, clip.width, clip.height) as writer:
            for frame in clip.frames():
                writer.write(frame)
            end = clip.pts_at(clip.frame_count) * clip.time_base
        with open_clip(output) as copy:
            assert tuple(frame.time for frame in copy.frames()) == wanted.times
            assert copy.pts_at(copy.frame_count) * copy.time_base == end
            assert (copy.width, copy.height) == wanted.size
            assert copy.has_audio == wanted.sound
            assert bool(writer.notes) == (wanted.size == (33, 31))
            assert copy.notes == ()
            for one, other in zip(copy.frames(), open_clip(path).frames(), strict=True):
                assert np.abs(one.pixels.astype(int) - other.pixels).mean() < 4


def same(one: Frame, other: Frame) -> bool:
    return (one.index, one.pts) == (other.index, other.pts) and np.array_equal(one.pixels, other.pixels)
