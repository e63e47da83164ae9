"""Outline: all that can be known of a base model from headers and configs, before a weight is read.

A check looks at it, adapters are matched against its module trees, and loading fills it. It raises what loading would
raise: missing parts, missing weights, parts that do not agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sakuga.errors import FileProblem, UnknownFile
from sakuga.models.codec import factor_of
from sakuga.models.detect import LDM_PREFIX, Recognised, recognise
from sakuga.models.families import family_named
from sakuga.models.family import Defaults, Family
from sakuga.models.folders import read_config
from sakuga.models.keys import Keys
from sakuga.models.library import BASE, Library
from sakuga.models.parts import Blueprint, PartFiles, text_blueprint, unet_blueprint, vae_blueprint
from sakuga.models.schedule import Schedule
from sakuga.models.settings import read_settings
from sakuga.models.signatures import spoken
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap

if TYPE_CHECKING:
    from torch import nn

SCHEDULER = "scheduler/scheduler_config.json"
VAE, TEXT = "first_stage_model.", "cond_stage_model.transformer."
PREDICTS_V, ZERO_SNR = "v_pred", "ztsnr"  # tensors by whose presence a checkpoint says how it was trained


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A base model in outline. ``folder`` None: a single file, ``file``. ``vae`` None: to be replaced by another.

    ``marks`` are names in the file that were understood although they are no weights.
    """

    path: Path
    name: str
    family: Family
    defaults: Defaults
    schedule: Schedule
    unet: Blueprint
    text_encoder: Blueprint
    vae: Blueprint | None
    folder: Path | None = None
    file: TensorFile | None = None
    marks: frozenset[str] = frozenset()

    @property
    def text_width(self) -> int:
        """Channels of the text encoder."""
        return int(self.text_encoder.config["hidden_size"])

    @property
    def text_layers(self) -> int:
        """Layers of the text encoder, which bound clip_skip."""
        return int(self.text_encoder.config["num_hidden_layers"])

    @cached_property
    def names(self) -> NameMap:
        """What the modules that adapters may change are called in files, with their shapes."""
        return NameMap.of({"unet": self.unet.tree, "text_encoder": self.text_encoder.tree})

    @property
    def factor(self) -> int:
        """Pixels along a side of one latent; 8 where its VAE is left out of account."""
        return factor_of(self.vae.config) if self.vae else 8

    @property
    def multiple(self) -> int:
        """Pixels that width and height have to be a multiple of; what does not is padded."""
        return self.factor * int(2 ** (len(self.unet.config["down_block_types"]) - 1))

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """What adapters may change, as skeletons without weights: names and shapes are real."""
        return {"unet": self.unet.skeleton, "text_encoder": self.text_encoder.skeleton}


def outline(ref: str | Path, library: Library, *, own_vae: bool = True) -> Outline:
    """The outline of the base ``ref``: a bundle folder or a checkpoint. Raises FileProblem and its kinds.

    With ``own_vae`` False its VAE is left out of account, because another takes its place.
    """
    path = library.find(ref, BASE)
    known = recognise(path)
    if known.role not in ("bundle", "checkpoint"):
        raise UnknownFile(
            f"{path.name} is no base model",
            given=f"{spoken(known.role)} in {known.layout} layout: it {known.reason}",
            expected="a checkpoint with UNet, VAE and text encoder, or a folder of parts",
            do="choose a base, and use this file where it belongs",
        )
    family = family_named(known.family, of=path.name)
    drawn = _of_folder(path, family, own_vae) if known.role == "bundle" else _of_file(path, known, family, own_vae)
    for blueprint in (drawn.unet, drawn.text_encoder, drawn.vae):
        if blueprint is not None:
            blueprint.places()
    check_agree(drawn, int(drawn.vae.config["latent_channels"]) if drawn.vae else None)
    return drawn


def _of_folder(folder: Path, family: Family, own_vae: bool) -> Outline:
    name, defaults = read_settings(folder, family)
    scheduler = folder / SCHEDULER
    return Outline(
        path=folder,
        name=name,
        family=family,
        defaults=defaults,
        schedule=Schedule.from_config(read_config(scheduler)) if scheduler.is_file() else family.schedule(),
        unet=unet_blueprint(PartFiles.at(folder / "unet"), family),
        text_encoder=text_blueprint(PartFiles.at(folder / "text_encoder")),
        vae=vae_blueprint(PartFiles.at(folder / "vae"), family) if own_vae else None,
        folder=folder,
    )


def _of_file(path: Path, known: Recognised, family: Family, own_vae: bool) -> Outline:
    file = TensorFile.open(path)
    keys = Keys.of(file).under(known.prefix)
    _check_parts(file, keys, own_vae)

    def part(prefix: str) -> PartFiles:
        return PartFiles(files=(file,), layout="ldm", prefix=known.prefix + prefix)

    marks = frozenset(mark for mark in (PREDICTS_V, ZERO_SNR) if mark in keys.shapes)
    return Outline(
        path=path,
        name=path.stem,
        family=family,
        defaults=family.defaults,
        schedule=_marked_schedule(family, marks),
        unet=unet_blueprint(part(LDM_PREFIX), family),
        text_encoder=text_blueprint(part(TEXT)),
        vae=vae_blueprint(part(VAE), family) if own_vae else None,
        file=file,
        marks=frozenset(known.prefix + mark for mark in marks),
    )


def _check_parts(file: TensorFile, keys: Keys, own_vae: bool) -> None:
    needed = {"text encoder": TEXT} | ({"VAE": VAE} if own_vae else {})
    lacks = [name for name, begin in needed.items() if not len(keys.under(begin))]
    if lacks:
        raise FileProblem(
            f"{file.path.name} is a checkpoint without {' and '.join(lacks)}",
            given=f"{len(keys)} tensors, none below {' or '.join(needed[name] for name in lacks)}",
            expected="a whole checkpoint" + (", or a VAE beside it" if lacks == ["VAE"] else ""),
            do="name a VAE of its own for the stage" if lacks == ["VAE"] else "use a whole checkpoint",
        )


def check_agree(drawn: Outline, latent_channels: int | None) -> None:
    """Raise FileProblem unless the parts speak of the same words, and of the latents of a VAE if one is known."""
    unet = drawn.unet.config
    findings = [
        ("channels that the UNet takes and gives", unet["in_channels"], unet["out_channels"]),
        ("widths of text in UNet and text encoder", unet["cross_attention_dim"], drawn.text_width),
    ]
    if latent_channels is not None:
        findings.append(("channels of UNet and VAE", unet["in_channels"], latent_channels))
    for what, one, other in findings:
        if one != other:
            raise FileProblem(
                f"{drawn.name} cannot be used as a base: its parts do not agree",
                given=f"{what}: {one} and {other}",
                expected="equal ones (models for inpainting and for instructions take more channels than they give)",
                do="choose an ordinary checkpoint, or a VAE that belongs to it",
            )


def _marked_schedule(family: Family, marks: frozenset[str]) -> Schedule:
    """The family's schedule, unless the file says that it was trained otherwise."""
    if not marks:
        return family.schedule()
    zero = ZERO_SNR in marks
    return family.schedule(
        prediction="v_prediction" if PREDICTS_V in marks else "epsilon",
        zero_terminal_snr=zero,
        spacing="trailing" if zero else "diffutoon",
    )
