"""VideoData, save_video, save_frames: frames as PIL pictures, in and out, as scripts for DiffSynth 1.x handle them."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Iterator
from fractions import Fraction
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sakuga.errors import JobError, nearest_name

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    Picture = Image.Image | NDArray[np.uint8]


OF_A_CONFIG = frozenset({"start_frame_id", "end_frame_id"})
MOST_FPS = 1000
QUALITY = 9  # what 1.x writes unless it is told otherwise


class VideoData:
    """The frames of a video or of a folder of pictures, each a PIL picture, read when it is asked for.

    With both ``height`` and ``width``, frames are cut to that shape around their middle and brought to that size. The
    range of frames in a config's entry may be given and changes nothing, as in 1.x. Raises ClipError for what cannot be
    read, JobError when nothing is named, and for other arguments.
    """

    def __init__(
        self,
        video_file: str | None = None,
        image_folder: str | None = None,
        height: int | None = None,
        width: int | None = None,
        **others: object,
    ) -> None:
        from sakuga.video.read import open_clip

        for name in others.keys() - OF_A_CONFIG:
            raise JobError(
                f"VideoData takes no {name!r}",
                given=name,
                expected="video_file, image_folder, height, width",
                nearest=nearest_name(name, ("video_file", "image_folder", "height", "width")),
                do="leave it out",
            )

        named = video_file if video_file is not None else image_folder
        if named is None:
            raise JobError("a video without frames", given="neither video_file nor image_folder", do="name one of them")
        self._clip = open_clip(Path(named))
        self.length: int | None = None
        self.height, self.width = height, width

    def __len__(self) -> int:
        return self._clip.frame_count if self.length is None else self.length

    def __getitem__(self, item: int) -> Image.Image:
        """Frame ``item``, counted from 0, below 0 from the end. Raises IndexError."""
        from PIL import Image

        number = range(len(self))[index(item)]
        return Image.fromarray(self._sized(next(self._clip.frames(number, number + 1)).pixels))

    def __iter__(self) -> Iterator[Image.Image]:
        from PIL import Image

        for frame in self._clip.frames(0, len(self)):
            yield Image.fromarray(self._sized(frame.pixels))

    def set_length(self, length: int) -> None:
        """Use only the first ``length`` frames."""
        self.length = min(length, self._clip.frame_count)

    def set_shape(self, height: int, width: int) -> None:
        """Give frames of another size from now on."""
        self.height, self.width = height, width

    def raw_data(self) -> list[Image.Image]:
        """All frames at once."""
        return list(self)

    def save_images(self, folder: str) -> None:
        """Write all frames as ``0.png``, ``1.png`` …"""
        save_frames(self, folder)

    def _sized(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        from sakuga.video.colour import cropped, resize

        if self.height is None or self.width is None:
            return pixels
        return resize(cropped(pixels, self.width, self.height), self.width, self.height)


def save_frames(frames: Iterable[Picture], save_path: str) -> None:
    """Write PIL pictures or uint8 (height, width, 3) as ``0.png``, ``1.png`` … into a folder, which is made."""
    from sakuga.video.pictures import encode_picture

    folder = Path(save_path)
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        (folder / f"{number}.png").write_bytes(encode_picture(pixels_of(frame), ".png"))


def save_video(frames: Iterable[Picture], save_path: str, fps: float, quality: int = QUALITY) -> None:
    """Write frames as a video at ``fps``, replacing one that is there. It is H.264 at crf 16, always: another
    ``quality`` is told with a warning. Raises JobError when there are no frames, or for an fps that is none.
    """
    from sakuga.video.folder import open_folder
    from sakuga.video.write import ClipWriter

    if isinstance(fps, bool) or not isinstance(fps, int | float | Fraction) or not 0 < fps <= MOST_FPS:
        raise JobError(
            "this is no number of frames per second",
            given=repr(fps)[:80],
            expected=f"above 0, at most {MOST_FPS}",
            do="give the clip's own, such as 24",
        )
    if quality != QUALITY:
        warnings.warn(f"quality={quality} has no effect: H.264 is written at crf 16", stacklevel=2)
    frames = list(frames)
    if not frames:
        raise JobError("there are no frames to write", given="none", expected="at least one", do="give frames")
    with tempfile.TemporaryDirectory() as folder:
        save_frames(frames, folder)
        clip = open_folder(Path(folder), Fraction(fps).limit_denominator(1001))
        with ClipWriter(Path(save_path), clip, clip.width, clip.height, overwrite=True) as writer:
            for frame in clip.frames():
                writer.write(frame)


def pixels_of(frame: Picture) -> NDArray[np.uint8]:
    """RGB uint8 (height, width, 3) of a frame. Raises JobError for what is none."""
    from PIL import Image

    if isinstance(frame, Image.Image):
        frame = np.asarray(frame.convert("RGB"))
    if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[2] != 3:
        raise JobError(
            "this is no picture",
            given=f"{type(frame).__name__} {getattr(frame, 'shape', '')}".strip(),
            expected="a PIL picture, or uint8 (height, width, 3)",
            do="give frames of VideoData, or of your own in that form",
        )
    return np.ascontiguousarray(frame, dtype=np.uint8)
