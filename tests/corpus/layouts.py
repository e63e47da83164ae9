"""Layouts of the corpus: how each producer spells a module and a leaf, for modules of each family in its own naming.

Native names stand beside the modules of diffusers' tree whose rows they hold; their shapes come from the tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tests.corpus.recipes import Shape

from sakuga.tensors.names import NameMap
from sakuga.tensors.tables.families import FAMILIES, FamilyTable

Leaves = Literal["lycoris", "peft", "named", "dot"]
Names = Mapping[str, Mapping[str, str]]  # component → a module's name in the file's naming → its own, "a + b" fused


@dataclass(frozen=True, kw_only=True)
class Place:
    """One module: how the file calls it, the shape of the weight that it means, and whether the model has a bias."""

    component: str
    path: str
    shape: Shape
    biased: bool
    whole: bool  # one module of the model, not rows of several


@dataclass(frozen=True, kw_only=True)
class Layout:
    """``spelling``: "flat" (underscores) or "dotted"; ``leaves``: the producer's words for a LoRA's factors.

    ``prefixes``: component → what stands before its names. ``reader``: the entry of FORMATS. ``table``: what they fit.
    """

    reader: str
    table: FamilyTable
    spelling: Literal["flat", "dotted"]
    leaves: Leaves
    prefixes: Mapping[str, str]
    names: Names

    def model(self) -> NameMap:
        """The names of that tree; made once for each family."""
        return self.table.names()

    def places(self) -> list[Place]:
        """The modules of its files."""
        trees = self.table.trees()
        found = []
        for component, names in self.names.items():
            for path, own in names.items():
                parts = [trees[component][name] for name in own.split(" + ")]
                shapes = [part["weight"] for part in parts]
                shape = (sum(one[0] for one in shapes), *shapes[0][1:])
                biased, whole = all("bias" in part for part in parts), len(parts) == 1
                found.append(Place(component=component, path=path, shape=shape, biased=biased, whole=whole))
        return found

    def stem(self, place: Place) -> str:
        """The module in the file."""
        path = place.path.replace(".", "_") if self.spelling == "flat" else place.path
        return self.prefixes[place.component] + path

    def key(self, place: Place, leaf: str) -> str:
        """The key of a leaf."""
        return f"{self.stem(place)}.{LEAVES[self.leaves].get(leaf, leaf)}"


def _table(family: str) -> FamilyTable:
    """By name, or by name and variant: "flux dev"."""
    name, _, variant = family.partition(" ")
    return next(table for table in FAMILIES if (table.name, table.variant) == (name, variant))


LEAVES: Mapping[str, Mapping[str, str]] = {
    "lycoris": {"down": "lora_down.weight", "up": "lora_up.weight", "mid": "lora_mid.weight"},
    "peft": {"down": "lora_A.weight", "up": "lora_B.weight", "up_bias": "lora_B.bias"},
    "named": {
        "down": "lora_A.default.weight",
        "up": "lora_B.default.weight",
        "up_bias": "lora_B.default.bias",
        "lora_magnitude_vector": "lora_magnitude_vector.default.weight",
    },
    "dot": {"down": "lora.down.weight", "up": "lora.up.weight"},
}
BLOCK = "down_blocks.1.attentions.0"
INNER = f"{BLOCK}.transformer_blocks.0"
HF = {
    f"text_model.{name}": name
    for name in ("encoder.layers.0.self_attn.q_proj", "encoder.layers.11.mlp.fc1", "encoder.layers.3.layer_norm1")
}
T5 = "encoder.block.5.layer.0.SelfAttention.o"


def _same(*names: str) -> Mapping[str, str]:
    return {name: name for name in names}


UNET = _same(
    *(f"{INNER}.{name}" for name in ("attn1.to_q", "attn2.to_k", "attn1.to_out.0", "ff.net.0.proj", "norm1")),
    *(f"{BLOCK}.proj_in", "mid_block.resnets.0.conv1", "down_blocks.0.downsamplers.0.conv"),
)
LDM = {
    "input_blocks.4.1.transformer_blocks.0.attn1.to_q": f"{INNER}.attn1.to_q",
    "input_blocks.4.1.transformer_blocks.0.attn2.to_k": f"{INNER}.attn2.to_k",
    "middle_block.0.in_layers.2": "mid_block.resnets.0.conv1",
    "input_blocks.3.0.op": "down_blocks.0.downsamplers.0.conv",
    "middle_block.0.in_layers.0": "mid_block.resnets.0.norm1",
}
_TWO, _ONE = "transformer_blocks.2", "single_transformer_blocks.7"
_ATTENTION = _same(*(f"{_TWO}.attn.{name}" for name in ("to_q", "to_k", "add_v_proj", "to_out.0", "to_add_out")))
FLUX = {**_ATTENTION, **_same(f"{_TWO}.ff.net.0.proj", f"{_ONE}.attn.to_v", f"{_ONE}.proj_mlp", f"{_ONE}.norm.linear")}
BFL = {
    "double_blocks.2.img_attn.qkv": " + ".join(f"{_TWO}.attn.to_{x}" for x in "qkv"),
    "double_blocks.2.txt_attn.proj": f"{_TWO}.attn.to_add_out",
    "double_blocks.2.img_mlp.0": f"{_TWO}.ff.net.0.proj",
    "double_blocks.2.img_mod.lin": f"{_TWO}.norm1.linear",
    "single_blocks.7.linear1": " + ".join([*(f"{_ONE}.attn.to_{x}" for x in "qkv"), f"{_ONE}.proj_mlp"]),
    "single_blocks.7.linear2": f"{_ONE}.proj_out",
}
MMDIT = {
    "joint_blocks.2.x_block.attn.qkv": " + ".join(f"{_TWO}.attn.to_{x}" for x in "qkv"),
    "joint_blocks.2.context_block.attn.qkv": " + ".join(f"{_TWO}.attn.add_{x}_proj" for x in "qkv"),
    "joint_blocks.2.x_block.mlp.fc1": f"{_TWO}.ff.net.0.proj",
    "joint_blocks.2.context_block.adaLN_modulation.1": f"{_TWO}.norm1_context.linear",
}
SD3 = {**_ATTENTION, **_same(f"{_TWO}.ff.net.2", f"{_TWO}.norm1.linear")}
WAN = {
    "blocks.3.self_attn.q": "blocks.3.attn1.to_q",
    "blocks.3.cross_attn.k": "blocks.3.attn2.to_k",
    "blocks.3.self_attn.o": "blocks.3.attn1.to_out.0",
    "blocks.3.ffn.0": "blocks.3.ffn.net.0.proj",
    "blocks.29.ffn.2": "blocks.29.ffn.net.2",
}
WAN_OWN = _same(*WAN.values())
QWEN = {**_ATTENTION, **_same(f"{_TWO}.img_mlp.net.0.proj", f"{_TWO}.txt_mod.1", "transformer_blocks.59.attn.to_q")}
_LAYER = "layers.4"
Z_IMAGE = _same(f"{_LAYER}.attention.to_q", f"{_LAYER}.feed_forward.w1", f"{_LAYER}.adaLN_modulation.0")
Z_NATIVE = {
    f"{_LAYER}.attention.qkv": " + ".join(f"{_LAYER}.attention.to_{x}" for x in "qkv"),
    f"{_LAYER}.attention.out": f"{_LAYER}.attention.to_out.0",
    f"{_LAYER}.feed_forward.w2": f"{_LAYER}.feed_forward.w2",
}
HUNYUAN = {
    "double_blocks.2.img_attn.qkv": BFL["double_blocks.2.img_attn.qkv"],
    "double_blocks.2.img_mlp.fc1": f"{_TWO}.ff.net.0.proj",
    "double_blocks.2.txt_mod.linear": f"{_TWO}.norm1_context.linear",
    "single_blocks.7.linear2": f"{_ONE}.proj_out",
}
FLUX2 = {
    "double_blocks.2.img_attn.qkv": " + ".join(f"{_TWO}.attn.to_{x}" for x in "qkv"),
    "double_blocks.2.img_mlp.0": f"{_TWO}.ff.linear_in",
    "single_blocks.7.linear1": f"{_ONE}.attn.to_qkv_mlp_proj",
    "single_blocks.7.linear2": f"{_ONE}.attn.to_out",
}
_MOTION = "motion_modules.0"
MOTION = {
    f"down_blocks.0.{_MOTION}.transformer_blocks.0.attn1.to_q": (
        f"down_blocks.0.{_MOTION}.transformer_blocks.0.attn1.to_q"
    )
}


def flat(table: FamilyTable, prefixes: Mapping[str, str], names: Names) -> Layout:
    """kohya's layout and its kin."""
    return Layout(reader="kohya", table=table, spelling="flat", leaves="lycoris", prefixes=prefixes, names=names)


def dotted(table: FamilyTable, prefixes: Mapping[str, str], names: Names, leaves: Leaves = "peft") -> Layout:
    """The dotted layouts."""
    return Layout(reader="dotted", table=table, spelling="dotted", leaves=leaves, prefixes=prefixes, names=names)


def _flat(family: str, prefixes: Mapping[str, str], names: Names) -> Layout:
    return flat(_table(family), prefixes, names)


def _dotted(family: str, prefixes: Mapping[str, str], names: Names, leaves: Leaves = "peft") -> Layout:
    return dotted(_table(family), prefixes, names, leaves)


_KOHYA = {"unet": "lora_unet_", "transformer": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"}
_KOHYA_XL = {**_KOHYA, "text_encoder": "lora_te1_", "text_encoder_3": "lora_te3_"}
_PARTS = {f"{name}": f"{name}." for name in ("unet", "transformer", "text_encoder", "text_encoder_2")}
_G = {"text_model.encoder.layers.31.self_attn.out_proj": "text_model.encoder.layers.31.self_attn.out_proj"}
_COMFY = dict.fromkeys(("unet", "transformer"), "diffusion_model.")
_BARE = dict.fromkeys(("unet", "transformer"), "")
_WRAPPED = dict.fromkeys(("unet", "transformer"), "base_model.model.")

LAYOUTS: Mapping[str, Layout] = {
    "K-SD": _flat("sd15", _KOHYA, {"unet": UNET, "text_encoder": HF}),
    "K-SD of SD 2": _flat("sd2", _KOHYA, {"unet": UNET, "text_encoder": HF}),
    "K-SD, LDM names": _flat("sd15", _KOHYA, {"unet": LDM}),
    "K-XL-sgm": _flat("sdxl", _KOHYA_XL, {"unet": LDM, "text_encoder": HF, "text_encoder_2": _G}),
    "K-XL-diff": _flat("sdxl", _KOHYA_XL, {"unet": UNET, "text_encoder": HF, "text_encoder_2": _G}),
    "K-OFT": _flat("sdxl", {"unet": "oft_unet_"}, {"unet": LDM}),
    "K-FLUX": _flat("flux dev", {**_KOHYA_XL, "text_encoder_2": "lora_te3_"}, {"transformer": BFL, "text_encoder": HF}),
    "K-FLUX2": _flat("flux2 dev", _KOHYA, {"transformer": FLUX2}),
    "K-SD3": _flat("sd3 medium", _KOHYA_XL, {"transformer": MMDIT, "text_encoder_3": _same(T5)}),
    "K-WAN": _flat("wan 2.1-t2v-1.3b", _KOHYA, {"transformer": WAN}),
    "K-WANFUN": _flat("wan 2.1-t2v-14b", {"transformer": "lora_unet__"}, {"transformer": WAN}),
    "K-HV": _flat("hunyuan-video", _KOHYA, {"transformer": HUNYUAN}),
    "K-QWEN": _flat("qwen-image", _KOHYA, {"transformer": QWEN}),
    "K-ZIMG": _flat("z-image", _KOHYA, {"transformer": Z_NATIVE}),
    "O-LEG": _flat("flux dev", {"transformer": "lora_transformer_"}, {"transformer": FLUX}),
    "T-SIMPLE": _flat("flux dev", {"transformer": "lycoris_"}, {"transformer": FLUX}),
    "D-UNET": _dotted("sd15", _PARTS, {"unet": UNET}, "dot"),
    "D-PEFT of SD 1": _dotted("sd15", _PARTS, {"unet": UNET, "text_encoder": HF}),
    "D-PEFT of SDXL": _dotted("sdxl", _PARTS, {"unet": UNET, "text_encoder": HF, "text_encoder_2": _G}),
    "D-PEFT of Flux": _dotted("flux schnell", _PARTS, {"transformer": FLUX, "text_encoder": HF}),
    "D-PEFT of SD 3": _dotted("sd3 3.5-large", _PARTS, {"transformer": SD3}),
    "D-PEFT of Wan": _dotted("wan 2.2-ti2v-5b", _PARTS, {"transformer": WAN_OWN}),
    "D-PEFT of Qwen": _dotted("qwen-image", _PARTS, {"transformer": QWEN}),
    "P-PEFT": _dotted("sd15", _WRAPPED, {"unet": UNET}),
    "P-NAMED": _dotted("wan 2.1-t2v-14b", _BARE, {"transformer": WAN}, "named"),
    "S-BARE": _dotted("wan 2.1-i2v-14b", _BARE, {"transformer": WAN}, "lycoris"),
    "C-COMFY": _dotted("z-image", _COMFY, {"transformer": Z_NATIVE}),
    "C-COMFY of Wan": _dotted("wan 2.1-t2v-1.3b", _COMFY, {"transformer": WAN}),
    "C-COMFY of Flux": _dotted("flux dev", _COMFY, {"transformer": BFL}, "lycoris"),
    "B-PEFT": _dotted("flux dev", _WRAPPED, {"transformer": BFL}),
    "A-LOKR": _dotted("qwen-image", _COMFY, {"transformer": QWEN}, "lycoris"),
    "M-AD dotted": _dotted("animatediff v1", _PARTS, {"unet": MOTION}),
}
