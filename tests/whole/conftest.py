"""Whole runs on the starter bundle: one Studio for all tests, tiny clips, and random adapters for its real modules.

Nothing here knows what the weights are: every expectation has to hold for any starter.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sakuga.models.library import Library
from sakuga.models.motion import MotionModules
from sakuga.models.outline import outline
from sakuga.models.temporal import sinusoids
from sakuga.progress import Progress
from sakuga.render.studio import Studio
from sakuga.report import Report
from sakuga.spec.job import Job, Stage
from sakuga.video.pictures import encode_picture, read_picture

SIZE = (64, 48)
EVEN = tuple(range(0, 8 * 1024, 1024))  # ticks of 1/12288 seconds: 12 frames a second
UNEVEN = (0, 1001, 2500, 2501, 4096, 6001, 7000, 8191)
BASE = Fraction(1, 12288)
SOUND_RATE = 48000
RANK = 2
CHANGE = 0.15  # of a random adapter, as a share of 1/√fan_in: what weights usually have


def scene(index: int, size: tuple[int, int] = SIZE, shot: int = 0) -> np.ndarray:
    """A soft picture with edges, in which a disc moves with ``index``; another ``shot`` looks like nothing in it."""
    width, height = size
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    ramps = np.stack([across / width, down / height, (across + down) / (width + height)], axis=-1)
    pixels = 60 + 120 * (ramps if shot % 2 == 0 else 1 - ramps[..., ::-1])
    middle = (width * (0.3 + 0.04 * index), height * (0.5 if shot % 2 == 0 else 0.3))
    inside = (across - middle[0]) ** 2 + (down - middle[1]) ** 2 < (height / 4) ** 2
    pixels[inside] = (230, 200, 40) if shot % 2 == 0 else (20, 60, 90)
    if shot % 2:
        pixels[:, (across[0] // 8) % 2 == 0] //= 2
    return pixels.round().astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class Made:
    """Makes sources in a folder, each under the name it is given."""

    folder: Path

    def picture(self, name: str = "still.png", size: tuple[int, int] = SIZE, index: int = 0) -> Path:
        path = self.folder / name
        path.write_bytes(encode_picture(scene(index, size), path.suffix))
        return path

    def pictures(self, count: int, name: str = "stills", size: tuple[int, int] = SIZE, cut: int = 10**6) -> Path:
        """A folder of frames; from ``cut`` on they show another shot."""
        path = self.folder / name
        path.mkdir()
        for index in range(count):
            pixels = scene(index, size, shot=int(index >= cut))
            (path / f"{index:03}.png").write_bytes(encode_picture(pixels, ".png"))
        return path

    def film(
        self, name: str = "film.mp4", times: Sequence[int] = EVEN, size: tuple[int, int] = SIZE, *, sound: bool = True
    ) -> Path:
        """A video with a frame at each of ``times``, and with one second of sound unless told otherwise."""
        path = self.folder / name
        with av.open(str(path), "w") as out:
            video = out.add_stream("libx264", rate=12)
            video.codec_context.width, video.codec_context.height = size
            odd = size[0] % 2 or size[1] % 2
            video.codec_context.pix_fmt = "yuv444p" if odd else "yuv420p"
            video.codec_context.time_base = video.time_base = BASE
            voice = out.add_stream("aac", rate=SOUND_RATE) if sound else None
            for index, pts in enumerate(times):
                picture = av.VideoFrame.from_ndarray(scene(index, size), format="rgb24")
                picture.pts, picture.time_base = pts, BASE
                out.mux(video.encode(picture))
            if times:
                out.mux(video.encode(None))
            if voice:
                out.mux(voice.encode(tone()))
                out.mux(voice.encode(None))
        return path

    def sound(self, name: str = "sound.mp4") -> Path:
        """A file with sound and nothing to see."""
        path = self.folder / name
        with av.open(str(path), "w") as out:
            voice = out.add_stream("aac", rate=SOUND_RATE)
            out.mux(voice.encode(tone()))
            out.mux(voice.encode(None))
        return path


def tone() -> av.AudioFrame:
    wave = 0.3 * np.sin(np.arange(SOUND_RATE) * 0.06)
    frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None].repeat(2, 0), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, 0, Fraction(1, SOUND_RATE)
    return frame


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Sources of the test's own."""
    return Made(folder=tmp_path)


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Sources that no test changes."""
    made = Made(folder=tmp_path_factory.mktemp("sources"))
    return {
        "picture": made.picture(),
        "pictures": made.pictures(6),
        "two shots": made.pictures(8, "two shots", cut=5),
        "film": made.film(),
        "uneven": made.film("uneven.mp4", UNEVEN),
    }


@pytest.fixture(scope="session")
def studio() -> Iterator[Studio]:
    """One for all tests, so that the starter is loaded once."""
    with Studio(reuse=False) as studio:  # every test draws for itself
        yield studio


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What a run gave: its frames [F, H, W, 3] as numbers that can be subtracted, and its report."""

    frames: np.ndarray
    report: Report
    output: Path

    def apart(self, other: Drawn | np.ndarray) -> np.ndarray:
        """How far two runs are apart in every value, in grey levels."""
        return np.abs(self.frames - (other.frames if isinstance(other, Drawn) else other.astype(np.int16)))


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Renders into a folder of PNGs, which lose nothing, and reads them again."""

    studio: Studio
    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __call__(self, source: Path, stage: Mapping[str, Any] | Stage, *more: Mapping[str, Any], **job: Any) -> Drawn:
        """``stage`` and ``more``: the fields of the Stages; ``job``: those of the Job."""
        output = self.folder / f"drawn-{next(self.numbers)}"
        report = self.studio.render(Job(source=source, stages=(stage, *more), output=output, **job))
        frames = [read_picture(path).astype(np.int16) for path in sorted(output.iterdir())]
        return Drawn(frames=np.stack(frames), report=report, output=output)


@pytest.fixture(scope="session")
def draw(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Draw:
    return Draw(studio=studio, folder=tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def modules() -> Mapping[str, tuple[int, ...]]:
    """The shape of every weight of the starter that an adapter may change, by ``unet.…`` or ``text_encoder.…``."""
    parts = outline("starter", Library.usual()).parts
    layers = (torch.nn.Linear, torch.nn.Conv2d)
    return {
        f"{part}.{name}": tuple(module.weight.shape)
        for part, tree in parts.items()
        for name, module in tree.named_modules()
        if isinstance(module, layers)
    }


@pytest.fixture(scope="session")
def adapters(modules: Mapping[str, tuple[int, ...]], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Random adapters for every module of the starter: "kohya" and "peft" by layout."""
    folder = tmp_path_factory.mktemp("adapters")
    files = {"kohya": kohya(modules, seed=1), "peft": peft(modules, seed=2)}
    for name, tensors in files.items():
        save_file(tensors, folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in files}


def kohya(modules: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Tensors as kohya names them."""
    tensors = {}
    for name, (down, up) in factors(modules, seed).items():
        part, _, path = name.partition(".")
        if part == "text_encoder":
            path = "text_model." + path.removeprefix("text_model.")
        stem = ("lora_unet_" if part == "unet" else "lora_te_") + path.replace(".", "_")
        tensors |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
        tensors[f"{stem}.alpha"] = torch.tensor(float(RANK))
    return tensors


def peft(modules: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Tensors as PEFT and diffusers name them."""
    pairs = factors(modules, seed).items()
    return {f"{name}.lora_A.weight": down for name, (down, _) in pairs} | {
        f"{name}.lora_B.weight": up for name, (_, up) in pairs
    }


def factors(modules: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Random (down, up) of rank 2 for every module."""
    chance = torch.Generator().manual_seed(seed)
    found = {}
    for name, (rows, *columns) in modules.items():
        fan_in = int(np.prod(columns))
        down = torch.randn(RANK, *columns, generator=chance) * fan_in**-0.5
        up = torch.randn(rows, RANK, *(1 for _ in columns[1:]), generator=chance)
        found[name] = (down, up * CHANGE * RANK**-0.5)
    return found


@pytest.fixture(scope="session")
def motion_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random motion module for the starter, so that frames do influence one another."""
    chance = torch.Generator().manual_seed(3)
    unet = outline("starter", Library.usual()).parts["unet"]
    with torch.device("meta"):
        state = MotionModules.for_unet(unet).state_dict()
    tensors = {
        name: sinusoids(tensor.shape[-1], tensor.shape[-2])
        if name.endswith(".pe")
        else torch.randn(tensor.shape, generator=chance) * float(tensor[0].numel()) ** -0.5
        for name, tensor in state.items()
    }
    path = tmp_path_factory.mktemp("motion") / "restless.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture
def stopped_at() -> Callable[[str, int], tuple[Progress, list[Any]]]:
    """A Progress that asks to stop as soon as ``done`` units of ``task`` are told, and all that it was told of."""

    def build(task: str, done: int) -> tuple[Progress, list[Any]]:
        told: list[Any] = []
        progress = Progress()

        def listen(moment: Any) -> None:
            told.append(moment)
            if moment.task == task and moment.done >= done:
                progress.stop()

        progress.listener = listen
        return progress, told

    return build


@pytest.fixture
def left_in() -> Callable[[Path], list[str]]:
    """The names in a folder, hidden ones too."""
    return lambda folder: sorted(path.name for path in folder.iterdir())
