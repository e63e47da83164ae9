"""An error with advice for all that is no clip."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from sakuga.errors import ClipError
from sakuga.video.pictures import encode_picture
from sakuga.video.read import open_clip

av = pytest.importorskip("av")


def film(path: Path, pictures: list[np.ndarray], codec: str = "libx264", **given: object) -> Path:
    """A video of RGB pictures at 12 a second; ``given`` are attributes of the encoder."""
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=12, options={"crf": "4"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for name, value in given.items():
            setattr(stream.codec_context, name, value)
        for pixels in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def grey(level: int, width: int = 32, height: int = 32) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def noise(frames: int, side: int = 64) -> list[np.ndarray]:
    random = np.random.default_rng(3)
    return [random.integers(0, 256, (side, side, 3)).astype(np.uint8) for _ in range(frames)]


def broken(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def audio_only(folder: Path) -> Path:
    path = folder / "song.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 2048), np.float32), format="fltp", layout="stereo")
        silence.sample_rate, silence.pts = 44100, 0
        out.mux(stream.encode(silence))
        out.mux(stream.encode(None))
    return path


def no_frames(path: Path) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=12)
        stream.width = stream.height = 32
        out.start_encoding()
    return path


def empty_folder(folder: Path) -> Path:
    (folder / "frames").mkdir()
    (folder / "frames" / "notes.txt").write_text("no pictures")
    return folder / "frames"


def two_sizes(folder: Path) -> Path:
    (folder / "frames").mkdir()
    for name, side in (("a1.png", 16), ("a2.png", 16), ("a10.png", 20)):
        (folder / "frames" / name).write_bytes(encode_picture(grey(9, side, 16), ".png"))
    return folder / "frames"


def old_codec(folder: Path) -> Path:
    data = film(folder / "a.mp4", [grey(10)] * 3).read_bytes()
    return broken(folder / "old.mp4", data.replace(b"avc1", b"zzzz"))


def playlist(folder: Path) -> Path:
    film(folder / "a.mp4", [grey(10)] * 3)
    return broken(folder / "list.mp4", b"ffconcat version 1.0\nfile a.mp4\n")


PNG = encode_picture(np.random.default_rng(1).integers(0, 256, (40, 40, 3)).astype(np.uint8), ".png")
JPEG = encode_picture(np.random.default_rng(1).integers(0, 256, (40, 40, 3)).astype(np.uint8), ".jpg")
NO_CLIPS = {
    "missing": (lambda folder: folder / "clp.mp4", "there is no file clp.mp4"),
    "empty": (lambda folder: broken(folder / "a.mp4", b""), "is empty"),
    "text renamed": (lambda folder: broken(folder / "a.mp4", b"just some words\n" * 20), "is not a video"),
    "text drawn by FFmpeg": (lambda folder: broken(folder / "a.nfo", b"\x1b[31mwords\n" * 20), "is not a video"),
    "list of other files": (playlist, "is not a video"),
    "random bytes": (lambda folder: broken(folder / "a.mp4", bytes(noise(1)[0])), "is not a video"),
    "index not written": (
        lambda folder: broken(folder / "b.mp4", film(folder / "a.mp4", noise(4)).read_bytes()[:4000]),
        "is cut off",
    ),
    "sound alone": (audio_only, "has no frames"),
    "0 frames, MP4": (lambda folder: no_frames(folder / "a.mp4"), "has no frames"),
    "0 frames, Matroska": (lambda folder: no_frames(folder / "a.mkv"), "has no frames"),
    "codec without decoder": (old_codec, "cannot be decoded"),
    "no pictures": (empty_folder, "no pictures"),
    "pictures of two sizes": (two_sizes, "differ in size"),
    "PNG cut off": (lambda folder: broken(folder / "a.png", PNG[: len(PNG) // 2]), "not a whole picture"),
    "JPEG cut off": (lambda folder: broken(folder / "a.jpg", JPEG[: len(JPEG) // 2]), "not a whole picture"),
    "text renamed as picture": (lambda folder: broken(folder / "a.png", b"some words"), "not a whole picture"),
}


@pytest.mark.parametrize("name", NO_CLIPS)
def test_what_is_no_clip_is_refused_with_advice(name: str, tmp_path: Path) -> None:
    make, title = NO_CLIPS[name]
    path = make(tmp_path)
    with pytest.raises(ClipError) as caught:
        open_clip(path)
    error = caught.value
    assert title in error.title
    assert path.name in error.told()
    assert error.given and error.expected and error.do


def test_a_pipe_or_a_device_is_not_called_missing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(ClipError, match="is a pipe or a device, not a file") as caught:
            open_clip(path)
        assert caught.value.nearest is None


def test_the_nearest_name_is_told(tmp_path: Path) -> None:
    film(tmp_path / "clip.mp4", [grey(9)])
    with pytest.raises(ClipError) as caught:
        open_clip(tmp_path / "clp.mp4")
    assert caught.value.nearest == str(tmp_path / "clip.mp4")


def test_without_pyav_videos_are_refused_and_pictures_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = film(tmp_path / "a.mp4", [grey(9)])
    picture = broken(tmp_path / "a.png", encode_picture(grey(9), ".png"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ClipError, match="need PyAV"):
        open_clip(video)
    assert open_clip(picture).frame_count == 1
