"""Write the museum anew, by the save code of other libraries: ``python -m tests.museum.make [FOLDER]``.

Needs lycoris-lora, peft and diffusers in the versions that the exhibits name. Numbers are random and are not kept.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from tests.museum.makers.by_diffusers import exhibits as by_diffusers
from tests.museum.makers.by_hand import exhibits as by_hand
from tests.museum.makers.by_lycoris import exhibits as by_lycoris
from tests.museum.makers.by_peft import exhibits as by_peft
from tests.museum.makers.exhibit import Made, fixture, lines

FOLDER = Path(__file__).parent / "exhibits"
MAKERS: tuple[Callable[[Path], Iterator[Made]], ...] = (by_lycoris, by_peft, by_diffusers, by_hand)


def main(target: Path = FOLDER) -> int:
    """Make every exhibit, then put them in the place of the old ones."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    told = {}
    with tempfile.TemporaryDirectory() as folder:
        for maker in MAKERS:
            for made in maker(Path(folder)):
                told[made.name or made.path.stem] = lines(fixture(made))
                print(made.name or made.path.stem, flush=True)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name, text in told.items():
        (target / f"{name}.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
