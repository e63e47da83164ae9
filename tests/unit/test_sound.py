"""Sound is copied bit for bit: all of it, or what belongs to the part that is written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

from sakuga.video.read import open_clip
from sakuga.video.sound import SoundCopy

av = pytest.importorskip("av")


def times(path: Path) -> list[Fraction]:
    with open_clip(path) as clip:
        return [frame.time for frame in clip.frames()]


def sound_of(path: Path) -> list[tuple[Fraction, str]]:
    """(begin in seconds, hash) of every sound packet."""
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.audio[0])
        return [(p.pts * p.time_base, hashlib.md5(bytes(p)).hexdigest()) for p in packets if p.size]


@pytest.mark.parametrize(
    ("source", "sound"), [("a.mp4", "aac"), ("a.mkv", "aac"), ("a.mkv", "libopus"), ("a.avi", "libmp3lame")]
)
@pytest.mark.parametrize("target", ["b.mp4", "b.mkv"])
def test_sound_is_copied_bit_for_bit(
    tmp_path: Path,
    source: str,
    sound: str,
    target: str,
    film: Callable[..., Path],
    copied: Callable[..., tuple[str, ...]],
) -> None:
    avi = source.endswith("avi")
    base, codec = (Fraction(1, 12), "mpeg4") if avi else (Fraction(1, 1000), "libx264")
    path = film(tmp_path / source, sound=sound, base=base, times=[n if avi else 83 * n for n in range(12)], codec=codec)
    copied(path, tmp_path / target)
    before, after = sound_of(path), sound_of(tmp_path / target)
    assert [digest for _, digest in after] == [digest for _, digest in before]
    assert len(before) > 40, "longer than the pictures, and all of it"
    assert max(abs(a - b) for (a, _), (b, _) in zip(after, before, strict=True)) <= Fraction(1, 900)
    assert abs(times(tmp_path / target)[0] - times(path)[0]) <= Fraction(1, 2000), "sound before 0 moves no picture"


def test_a_part_begins_where_the_source_does_with_its_own_sound(
    tmp_path: Path, film: Callable[..., Path], copied: Callable[..., tuple[str, ...]]
) -> None:
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


def test_the_first_frames_alone_keep_their_times_and_lose_later_sound(
    tmp_path: Path, film: Callable[..., Path], copied: Callable[..., tuple[str, ...]]
) -> None:
    source = film(tmp_path / "a.mp4", sound="aac")
    copied(source, tmp_path / "b.mp4", 0, 4)
    assert times(tmp_path / "b.mp4") == times(source)[:4]
    after = sound_of(tmp_path / "b.mp4")
    assert [digest for _, digest in after] == [d for begin, d in sound_of(source) if begin < Fraction(4, 12)]


@pytest.mark.parametrize(
    ("sound", "target", "kept"), [("aac", "b.webm", False), ("libopus", "b.webm", True), ("libopus", "b.mov", False)]
)
def test_sound_that_a_container_cannot_hold_is_told(
    tmp_path: Path,
    sound: str,
    target: str,
    kept: bool,
    film: Callable[..., Path],
    copied: Callable[..., tuple[str, ...]],
) -> None:
    source = film(tmp_path / "a.mkv", sound=sound, base=Fraction(1, 1000), times=[80 * n for n in range(6)])
    notes = copied(source, tmp_path / target)
    with open_clip(tmp_path / target) as copy:
        assert copy.has_audio == kept
        assert copy.frame_count == 6
    assert bool(notes) != kept
    assert kept or (sound.removeprefix("lib") in notes[0] and target[1:] in notes[0])


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
