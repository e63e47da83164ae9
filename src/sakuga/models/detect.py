"""What a file or folder is: role, family and layout, from the names and shapes in its header (or a folder's config).

Nothing is loaded and no file name or hash is believed. When nothing fits, the error names what came nearest and what
was missing for it. Families that cannot be rendered are recognised all the same, so that the refusal can name them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sakuga.errors import UnknownFile, counted
from sakuga.models.folders import PartFolder, is_bundle, read_config
from sakuga.models.keys import Keys
from sakuga.models.signatures import SIGNATURES, Reading, Role, compare
from sakuga.tensors.file import TensorFile
from sakuga.tensors.refs import ADAPTER_FILES

LDM_PREFIX = "model.diffusion_model."
CONTEXT_FAMILIES = {768: "sd15", 1024: "sd2", 2048: "sdxl"}
EMBEDDING_ROWS = 512  # more vectors than this is a table, not an embedding


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """What a file is. ``prefix`` stands before the names of its part (before all parts, for a checkpoint).

    ``family`` is None where files of several families look alike (a VAE, an adapter). ``nearest`` names the kind that
    came second, if any mark of it was found.
    """

    role: Role
    family: str | None
    layout: str
    reason: str
    prefix: str = ""
    nearest: str | None = None


def recognise(file: TensorFile | Path) -> Recognised:
    """The kind of a file, or of a folder as diffusers writes it. Raises UnknownFile with the nearest kind."""
    if isinstance(file, TensorFile):
        return recognise_keys(Keys.of(file), name=file.path.name)
    if file.is_dir():
        return _recognise_folder(file)
    with TensorFile.open(file) as opened:
        return recognise_keys(Keys.of(opened), name=file.name)


def recognise_keys(keys: Keys, *, name: str) -> Recognised:
    """The kind of a file by its header; ``name`` is for the error."""
    readings = [compare(signature, keys) for signature in SIGNATURES]
    match = next((reading for reading in readings if reading.matches), None)
    if match is not None:
        return _recognised(match, keys, second=_nearest(readings, but=match.signature.role))
    if len(keys) == 1:
        (token, shape), *_ = keys.shapes.items()
        if len(shape) == 1 or (len(shape) == 2 and shape[0] <= EMBEDDING_ROWS):
            reason = f"has one tensor of {list(shape)}, called {token!r}"
            return Recognised(role="embedding", family=_context(shape[-1]), layout="diffusers", reason=reason)
    raise _unknown(_nearest(readings, but=None), keys, name)


def _recognised(match: Reading, keys: Keys, second: Reading | None) -> Recognised:
    signature, prefix = match.signature, match.prefix
    role, family = signature.role, signature.family
    if role == "checkpoint" and signature.layout == "ldm":
        outside = prefix.removesuffix(LDM_PREFIX)
        others = (f"{outside}first_stage_model", f"{outside}cond_stage_model", f"{outside}conditioner")
        whole = any(name.startswith(others) for name in keys.shapes)
        role, prefix = ("checkpoint", outside) if whole else ("unet", prefix)
    if family is None:
        family = _family(role, keys)
    return Recognised(
        role=role,
        family=family,
        layout=signature.layout,
        reason=f"has {', '.join(match.found[:3])}",
        prefix=prefix,
        nearest=second.signature.role if second else None,
    )


def _family(role: Role, keys: Keys) -> str | None:
    """The family by shapes: the width of the text that attention looks at, or the number of levels."""
    if role in ("checkpoint", "unet", "control"):
        key = keys.find(r".*attn2\.to_k\.weight$")
        return _context(keys.shapes[key[0]][1]) if key else None
    if role == "text_encoder":
        key = keys.find(r".*token_embedding\.weight$")
        return _context(keys.shapes[key[0]][1]) if key else None
    if role == "motion":
        levels = keys.count(r"(?:module\.)?(down_blocks\.\d+)\.")
        return "sdxl" if levels == 3 else "sd15"
    return None


def _context(width: int) -> str:
    """SD 1.5 is the kind of every width that no other family has: small models of its build are of its kind."""
    return CONTEXT_FAMILIES.get(width, "sd15")


def _nearest(readings: list[Reading], *, but: Role | None) -> Reading | None:
    others = [reading for reading in readings if reading.found and reading.signature.role != but]
    return max(others, key=lambda reading: reading.share, default=None)


def _unknown(near: Reading | None, keys: Keys, name: str) -> UnknownFile:
    shown = ", ".join(list(keys.shapes)[:3])
    told = None
    if near:
        lack = (
            f"lacks {', '.join(near.missing)}" if near.missing else f"has {', '.join(near.in_the_way)}, which none has"
        )
        told = f"{near.signature.role} in {near.signature.layout} layout, but it {lack}"
    return UnknownFile(
        f"{name} is a file of tensors, but of no kind that is known here",
        given=f"{counted(len(keys), 'tensor')}: {shown}{' …' if len(keys) > 3 else ''}" if len(keys) else "no tensors",
        expected="a checkpoint, UNet, VAE, text encoder, ControlNet, motion module, embedding, adapter or annotator",
        nearest=told,
        do="check that it is the file that you meant",
    )


def _recognise_folder(folder: Path) -> Recognised:
    if is_bundle(folder):
        return Recognised(
            role="bundle", family=_bundle_family(folder), layout="diffusers", reason="has unet/config.json"
        )
    index = read_config(folder / "model_index.json") if (folder / "model_index.json").is_file() else {}
    if index:
        kind = str(index.get("_class_name"))
        family = next((name for name, word in PIPELINE_WORDS if word in kind), None)
        return Recognised(
            role="bundle", family=family, layout="diffusers", reason=f"has a model_index.json that names {kind}"
        )
    adapter = next((folder / name for name in ADAPTER_FILES if (folder / name).is_file()), None)
    if adapter is not None:
        return Recognised(role="adapter", family=None, layout="peft", reason=f"has {adapter.name}")
    part = PartFolder.read(folder)
    return Recognised(
        role=part.role,
        family=_config_family(part),
        layout="diffusers",
        reason=f"has a config.json that names {part.kind}",
    )


PIPELINE_WORDS = (("sdxl", "XL"), ("sd3", "Diffusion3"), ("flux", "Flux"))


def _bundle_family(folder: Path) -> str:
    return _config_family(PartFolder.read(folder / "unet")) or "sd15"


def _config_family(part: PartFolder) -> str | None:
    if part.role not in ("unet", "control"):
        return None
    if part.kind not in ("UNet2DConditionModel", "ControlNetModel"):
        return next((name for name, word in TRANSFORMER_WORDS if word in part.kind), None)
    if part.config.get("addition_embed_type"):
        return "sdxl"
    width = part.config.get("cross_attention_dim", 1280)
    return _context(width) if isinstance(width, int) else None


TRANSFORMER_WORDS = (("sd3", "SD3"), ("flux", "Flux"))
