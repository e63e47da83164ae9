"""Makes the demo clip: a camera move over a photograph, a hard cut, and a piece of film, with a melody of our own.

The photograph is NASA's and in the public domain; the film of a launch comes with Debian's renpy-demo under the Expat
licence (NOTICE tells both). ``data.py`` unpacks the packages that hold them, and keeps them out of the training.
``python starter/demo_clip.py --work build/starter`` writes ``src/sakuga/starter/demo.mp4``; the same packages and the
same FFmpeg give the same bytes. What it sounds like is computed here: plucked strings, no recording.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation

PHOTOGRAPH = "**/skimage/data/astronaut.png"
FILM = "**/game/oa4_launch.webm"
TARGET = Path(__file__).resolve().parent.parent / "src" / "sakuga" / "starter" / "demo.mp4"

WIDTH, HEIGHT, RATE = 256, 192, 12
PHOTOGRAPH_FRAMES, FILM_FRAMES = 28, 20
# the camera over the photograph, at the first frame and at the last: centre and width in its pixels
CAMERA = ((234.0, 174.0, 430.0), (226.0, 124.0, 276.0))
FILM_FIRST, FILM_STEP = 155, 2  # 6.4 s on, every second of 24 frames a second: the flame grows until the film ends
FILM_CROP = (146, 42, 384, 288)  # left, top, width, height: the rocket between its two towers
MOST_BYTES = 400_000

SAMPLE_RATE = 44_100
BEAT_SECONDS = 0.25
# (beat, semitones above A3, loudness, place from left to right): a rising and a falling figure over two chords
MELODY = (
    (0, 3, 0.9, 0.4), (1, 7, 0.7, 0.6), (2, 10, 0.7, 0.3), (3, 15, 0.9, 0.7), (4, 14, 0.7, 0.5), (5, 10, 0.6, 0.3),
    (6, 7, 0.7, 0.6), (7, 10, 0.6, 0.4), (8, 5, 0.9, 0.7), (9, 8, 0.7, 0.4), (10, 12, 0.7, 0.6), (11, 17, 0.9, 0.3),
    (12, 15, 1.0, 0.5),
)  # fmt: skip
BASS = ((0, -21, 1.0, 0.5), (4, -14, 0.7, 0.5), (8, -19, 1.0, 0.5), (12, -21, 1.0, 0.5), (12, -9, 0.6, 0.5))


def make(packages: Path, target: Path) -> None:
    """Write the clip to ``target`` from the packages unpacked below ``packages``."""
    (photograph,) = packages.glob(PHOTOGRAPH)
    (film,) = packages.glob(FILM)
    frames = [*camera_move(cv2.imread(str(photograph))[..., ::-1]), *film_frames(film)]
    target.parent.mkdir(parents=True, exist_ok=True)
    write(target, frames, melody(len(frames) / RATE))
    size = target.stat().st_size
    if size > MOST_BYTES:
        raise RuntimeError(f"{target} has {size} bytes, {MOST_BYTES} are allowed")
    print(f"{target}: {len(frames)} frames, {size / 1000:.0f} kB")


def camera_move(picture: np.ndarray) -> Iterator[np.ndarray]:
    """A slow zoom and pan that begins and ends gently, to parts of a pixel, never past the picture's border."""
    first, last = (np.array(view) for view in CAMERA)
    for index in range(PHOTOGRAPH_FRAMES):
        at = index / (PHOTOGRAPH_FRAMES - 1)
        x, y, width = first + (last - first) * (at * at * (3 - 2 * at))
        yield seen(picture, x, y, width)


def seen(picture: np.ndarray, x: float, y: float, width: float) -> np.ndarray:
    """What a camera sees that is ``width`` pixels wide at (x, y), drawn twice as large and averaged."""
    half = np.array((width / 2, width * HEIGHT / WIDTH / 2))
    corner = np.array((x, y)) - half
    if (corner < 0).any() or (corner + 2 * half > picture.shape[1::-1]).any():
        raise RuntimeError(f"the camera leaves the picture at {x:.0f}, {y:.0f}")
    zoom = 2 * WIDTH / width
    # pixels have their centres at halves: the corner of the view is the corner of the large frame
    shift = 0.5 * zoom - 0.5 - zoom * corner
    matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    large = cv2.warpAffine(
        picture, matrix, (2 * WIDTH, 2 * HEIGHT), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE
    )
    return cv2.resize(large, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def film_frames(film: Path) -> Iterator[np.ndarray]:
    """Every second frame of the film's end, cropped to the clip's shape."""
    left, top, width, height = FILM_CROP
    wanted = range(FILM_FIRST, FILM_FIRST + FILM_FRAMES * FILM_STEP, FILM_STEP)
    with av.open(str(film)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                crop = frame.to_ndarray(format="rgb24")[top : top + height, left : left + width]
                yield cv2.resize(crop, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def melody(seconds: float) -> np.ndarray:
    """Plucked strings over a soft bass, float32 (2, samples) within -1 and 1, faded out at the end."""
    count = round(seconds * SAMPLE_RATE)
    sound = np.zeros((2, count))
    random = np.random.default_rng(11)
    for notes, strength, brightness in ((MELODY, 0.30, 0.5), (BASS, 0.42, 0.15)):
        for beat, semitones, loudness, place in notes:
            start = round(beat * BEAT_SECONDS * SAMPLE_RATE)
            tone = strength * loudness * plucked(220.0 * 2 ** (semitones / 12), count - start, brightness, random)
            sound[:, start:] += tone * np.sqrt([[1 - place], [place]])
    sound += 0.25 * np.roll(sound[::-1], round(0.19 * SAMPLE_RATE), axis=1) * (np.arange(count) > 0.19 * SAMPLE_RATE)
    fade = np.clip((count - np.arange(count)) / (0.5 * SAMPLE_RATE), 0, 1)
    return (0.8 * sound / np.abs(sound).max() * fade).astype(np.float32)


def plucked(frequency: float, count: int, brightness: float, random: np.random.Generator) -> np.ndarray:
    """A string plucked once: its partials decay the faster the higher they are."""
    time = np.arange(count) / SAMPLE_RATE
    tone = np.zeros(count)
    for partial in range(1, 13):
        pitch = frequency * partial * (1 + 0.0002 * partial * partial)  # a real string's partials are a little sharp
        if pitch > 9000:
            break
        decay = 1.6 + 0.9 * partial + pitch / 900
        wave = np.sin(2 * np.pi * (pitch * time + random.random()))
        tone += brightness ** (partial - 1) * np.exp(-decay * time) * wave
    return tone * np.clip(time / 0.004, 0, 1)  # without a click


def write(target: Path, frames: list[np.ndarray], sound: np.ndarray) -> None:
    """H.264 and AAC in MP4, playable before it is loaded to the end."""
    base = Fraction(1, RATE)
    with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        options = {"crf": "18", "preset": "veryslow", "threads": "1", "bf": "2"}
        video = container.add_stream("libx264", rate=RATE, options=options)
        context = video.codec_context
        context.width, context.height, context.pix_fmt, context.time_base = WIDTH, HEIGHT, "yuv420p", base
        context.colorspace = context.color_primaries = context.color_trc = Colorspace.ITU709
        context.color_range = ColorRange.MPEG
        audio = container.add_stream("aac", rate=SAMPLE_RATE, bit_rate=112_000, layout="stereo")
        for index, pixels in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
                interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
            )
            picture.pts, picture.time_base = index, base
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        tone = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="fltp", layout="stereo")
        tone.sample_rate, tone.pts, tone.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        container.mux(audio.encode(tone))
        container.mux(audio.encode(None))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/starter"), help="the folder that data.py fills")
    parser.add_argument("--target", type=Path, default=TARGET)
    options = parser.parse_args()
    make(options.work / "packages", options.target)
