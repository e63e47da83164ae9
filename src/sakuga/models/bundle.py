"""Bundle: the loaded parts of one base model, and where each came from. Holds; decides nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from sakuga.models.codec import Codec
from sakuga.models.family import Defaults, Family
from sakuga.models.motion import MotionModules
from sakuga.models.schedule import Schedule
from sakuga.models.signatures import Role

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import CLIPTokenizer

    from sakuga.models.skeletons import TextEncoder, UNet

Part = TypeVar("Part")


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A tensor of a file, or an entry of a config, that was not used, and why."""

    key: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file that was read: its role, how many of its tensors (of a scheduler's config: entries) were used, and each
    that was not, with the reason. ``beside``: the files that say how its tensors are used, such as a ``config.json``.
    """

    path: Path
    role: Role
    used: int
    leftovers: tuple[Leftover, ...] = ()
    beside: tuple[Path, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """The hash of the whole file. Reads it once, when it is first asked for."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    @cached_property
    def beside_sha256(self) -> str | None:
        """The hash of the names and contents of the files beside it; None where there are none."""
        if not self.beside:
            return None
        whole = hashlib.sha256()
        for path in self.beside:
            whole.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return whole.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Loaded(Generic[Part]):
    """A part that was loaded by itself (a VAE, a ControlNet, motion modules), and its files."""

    part: Part
    sources: tuple[Source, ...]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A base model, ready to render. ``motion`` is its own motion module, if it has one; ``origin`` reads a weight of
    its parts again, by (component, dotted module, parameter).
    """

    name: str
    family: Family
    unet: UNet
    codec: Codec
    text_encoder: TextEncoder
    tokenizer: CLIPTokenizer
    schedule: Schedule
    motion: MotionModules | None
    defaults: Defaults
    sources: tuple[Source, ...]
    origin: Callable[[str, str, str], Tensor | None]
    folder: Path | None = None

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """What adapters may change."""
        return {"unet": self.unet, "text_encoder": self.text_encoder}

    @property
    def multiple(self) -> int:
        """Pixels that width and height have to be a multiple of: the codec's factor times what the UNet halves."""
        return self.codec.factor * int(2 ** (len(self.unet.config["down_block_types"]) - 1))

    @property
    def text_width(self) -> int:
        """Channels of the text encoder, and of the vectors of an embedding."""
        return int(self.text_encoder.config.hidden_size)

    def schedule_with(self, motion: MotionModules | None) -> Schedule:
        """The noise schedule to use together with ``motion``.

        A module from elsewhere on an ordinary base of the family wants the betas it was trained with; the base's own
        module, or a base with a schedule of its own, keeps the base's.
        """
        stranger = motion is not None and motion is not self.motion
        return self.family.motion_schedule() if stranger and self.schedule == self.family.schedule() else self.schedule
