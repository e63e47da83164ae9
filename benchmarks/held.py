"""What held frames save: seconds per output frame of a clip that moves all the time, and of the same clip in which
every third frame is the one before, as drawn animation has it; each rendered with ``held: once`` and ``each``.

The ratio to aim at is the share of frames that are drawn; reading, writing and loading are not saved.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from sakuga.models.library import STARTER
from sakuga.render.studio import Studio
from sakuga.spec.job import Job
from sakuga.video.pictures import encode_picture
from sakuga.video.read import open_clip


def frames(folder: Path, name: str, held: bool) -> Path:
    """The shipped clip as a folder of pictures; ``held``: every third is the one before."""
    path = folder / name
    path.mkdir()
    with open_clip(STARTER / "demo.mp4") as clip:
        before = b""
        for frame in clip.frames(0, 24):
            data = before if held and frame.index % 3 == 2 else encode_picture(frame.pixels, ".png")
            (path / f"{frame.index:03}.png").write_bytes(data)
            before = data
    return path


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of which the quickest counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Studio(work=Path(name) / "work", reuse=False) as studio:
        folder = Path(name)
        clips = {"moving": frames(folder, "moving", held=False), "a third held": frames(folder, "held", held=True)}
        seconds: dict[tuple[str, str], float] = {}
        for number in range(options.rounds + 1):  # the first one warms
            for clip, source in clips.items():
                for way in ("each", "once"):
                    stage = {"prompt": "flat colours, clean ink lines", "adapters": ["celcomic"]}
                    output = folder / f"{clip}-{way}-{number}"
                    report = studio.render(Job(source=source, stages=[stage], output=output, held=way))
                    if number:
                        taken = report.seconds["render"] / 24
                        seconds[clip, way] = min(taken, seconds.get((clip, way), taken))
        plain = seconds["moving", "each"]
        for (clip, way), taken in seconds.items():
            print(f"{clip:<14}{way:<6}{1000 * taken:7.1f} ms a frame, {taken / plain:.2f} x the plain run")


if __name__ == "__main__":
    main()
