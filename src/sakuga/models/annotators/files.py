"""From the networks of annotators to their files: found in the library, tried by their headers, loaded.

Looked at are files that have the public name, wherever they lie below a model folder, and after them every file in a
folder called ``Annotators``. Refuses to believe names: the header decides, and what is passed over is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from sakuga.errors import FileProblem, SakugaError
from sakuga.models.annotators import LoadedNetwork, Network
from sakuga.models.annotators.weights import Weights
from sakuga.models.bundle import Loaded
from sakuga.models.detect import recognise_keys
from sakuga.models.device import Placement
from sakuga.models.keys import Keys
from sakuga.models.library import STARTER, Library
from sakuga.models.signatures import spoken
from sakuga.models.sources import source_of
from sakuga.tensors.file import TensorFile

FOLDER = "Annotators"


@dataclass(frozen=True, kw_only=True)
class Search:
    """What became of the search for a network: its file, or None; ``looked``: in which folders; ``passed``: files that
    have its name and are not it, with the reason.
    """

    network: Network
    path: Path | None
    looked: tuple[Path, ...]
    passed: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """The sentence for a network without a file."""
        folders = ", ".join(map(str, self.looked))
        passed = "".join(f"; {one}" for one in self.passed)
        return f"{self.network.file} ({self.network.title}) is neither in {folders} nor elsewhere below them{passed}"


def find_network(network: Network, library: Library) -> Search:
    """Look for the file of ``network``. Headers only."""
    stem, passed = Path(network.file).stem, list[str]()
    looked = tuple(_inside(folder) for folder in library.folders if not folder.is_relative_to(STARTER))
    for path in library.files_for(stem, FOLDER):
        try:
            with TensorFile.open(path) as file:
                names_used(network, file)
        except SakugaError as error:
            if path.stem == stem:
                passed.append(f"{path} is passed over: {error.title} ({error.given})")
            continue
        return Search(network=network, path=path, looked=looked)
    return Search(network=network, path=None, looked=looked, passed=tuple(passed))


def names_used(network: Network, file: TensorFile) -> tuple[str, frozenset[str]]:
    """The prefix in ``file`` and the names behind it that ``network`` reads. Raises FileProblem."""
    known = recognise_keys(Keys.of(file), name=file.path.name)
    if known.layout != network.layout:
        raise FileProblem(
            "it is another kind of file",
            given=f"{spoken(known.role)} in {known.layout} layout",
            expected=f"{network.title}, as {network.file}",
            do="use the file of that name",
        )
    return known.prefix, network.tried(Keys.of(file).under(known.prefix).shapes)


def load_network(network: Network, path: Path, where: Placement) -> Loaded[LoadedNetwork]:
    """The network in ``path`` on its device, in float32, with the account of its file. Raises FileProblem."""
    with TensorFile.open(path) as file:
        prefix, used = names_used(network, file)
        names = sorted(prefix + name for name in used)
        tensors = {name[len(prefix) :]: tensor.to(where.device, torch.float32) for name, tensor in file.tensors(names)}
        source = source_of(file, "annotator", names)
    weights = Weights(tensors)
    return Loaded(part=LoadedNetwork(network=network, weights=weights, device=where.device), sources=(source,))


def _inside(folder: Path) -> Path:
    return folder if folder.name.lower() == FOLDER.lower() else folder / FOLDER
