"""Exhibits that LyCORIS writes: its networks for kohya's trainers and its own, saved by their ``save_weights``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from tests.museum.makers.exhibit import Made
from tests.museum.makers.models import ALIKE, CLIP, FLUX, INNER, QWEN, SD3, UNET, WAN, Z_IMAGE, forget, model, named
from torch import nn

os.environ["LYCORIS_KERNEL_BACKEND"] = "torch"
from lycoris.kohya import LycorisNetworkKohya
from lycoris.wrapper import LycorisNetwork

BY = "lycoris-lora 4.1.3"
LINEAR = UNET[:4]
# BFL's own modules, which no library here builds: name → (inputs, outputs)
BFL = {
    "double_blocks.0.img_attn.qkv": (3072, 9216),
    "double_blocks.0.txt_attn.proj": (3072, 3072),
    "double_blocks.0.img_mlp.0": (3072, 12288),
    "single_blocks.0.linear1": (3072, 21504),
    "single_blocks.0.modulation.lin": (3072, 9216),
}
MMDIT = {
    "joint_blocks.0.x_block.attn.qkv": (1536, 4608),
    "joint_blocks.0.context_block.attn.qkv": (1536, 4608),
    "joint_blocks.0.x_block.mlp.fc1": (1536, 6144),
}
WAN_NATIVE = {
    "blocks.0.self_attn.q": (1536, 1536),
    "blocks.0.cross_attn.k": (1536, 1536),
    "blocks.0.ffn.0": (1536, 8960),
}


def kohya(path: Path, unet: nn.Module, layers: tuple[str, ...], text: Any = None, **options: Any) -> None:
    """A network as kohya's trainers make it, of some layers, and its file."""
    chosen = {"unet_target_module": [], "unet_target_name": list(layers), "text_encoder_target_module": []}
    words = list(CLIP) if text else []
    LycorisNetworkKohya.apply_preset({**chosen, "text_encoder_target_name": words, "enable_conv": True})
    dim, alpha = options.pop("dim", 4), options.pop("alpha", 2)
    sizes = {"lora_dim": dim, "conv_lora_dim": dim, "alpha": alpha, "conv_alpha": alpha}
    network = LycorisNetworkKohya(text, unet, network_module=options.pop("algo"), **sizes, **options)
    network.apply_to(text, unet, text is not None, True)
    network.save_weights(str(path), torch.float16, {"ss_network_module": "lycoris.kohya"})


def alone(path: Path, module: nn.Module, layers: tuple[str, ...], **options: Any) -> None:
    """A network of LyCORIS' own wrapper, which SimpleTuner uses."""
    LycorisNetwork.apply_preset({"target_module": [], "target_name": list(layers), "enable_conv": True})
    network = LycorisNetwork(
        module, lora_dim=4, conv_lora_dim=4, alpha=2, network_module=options.pop("algo"), **options
    )
    network.apply_to()
    network.save_weights(str(path), torch.bfloat16, {})


def of_linears(names: dict[str, tuple[int, int]]) -> nn.Module:
    """A model of linear layers."""
    return named({name: nn.Linear(*sizes, dtype=torch.bfloat16) for name, sizes in names.items()})


def _sd15(*layers: str) -> Any:
    return model("sd15", *layers)


# name → (layers, options of the network, algorithms in words)
ON_SD15: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "locon": (UNET, {"algo": "locon"}, "LoRA"),
    "locon-tucker": (UNET[5:], {"algo": "locon", "use_tucker": True}, "LoCon with a Tucker core"),
    "locon-dora-rows": (UNET, {"algo": "locon", "weight_decompose": True, "wd_on_out": True}, "DoRA"),
    "locon-dora-columns": (UNET, {"algo": "locon", "weight_decompose": True, "wd_on_out": False}, "DoRA"),
    "locon-rs": (LINEAR, {"algo": "locon", "rs_lora": True}, "LoRA"),
    "loha": (UNET, {"algo": "loha"}, "LoHa"),
    "loha-tucker": (UNET[5:], {"algo": "loha", "use_tucker": True}, "LoHa"),
    "loha-dora": (LINEAR, {"algo": "loha", "weight_decompose": True}, "DoHa"),
    "lokr": (UNET, {"algo": "lokr", "factor": 8}, "LoKr"),
    "lokr-full": (LINEAR, {"algo": "lokr", "factor": 16, "full_matrix": True}, "LoKr"),
    "lokr-both": (LINEAR, {"algo": "lokr", "decompose_both": True, "factor": -1, "dim": 2}, "LoKr"),
    "lokr-tucker": (UNET[5:], {"algo": "lokr", "use_tucker": True, "factor": 4}, "LoKr"),
    "lokr-dora": (LINEAR, {"algo": "lokr", "factor": 8, "weight_decompose": True}, "DoKr"),
    "diag-oft": (UNET[:6], {"algo": "diag-oft", "dim": 8, "constraint": 0.001}, "OFT"),
    "diag-oft-rescaled": (LINEAR, {"algo": "diag-oft", "dim": 8, "rescaled": True}, "OFT"),
    "boft": (LINEAR, {"algo": "boft", "dim": 10}, "BOFT"),
    "glora": (LINEAR, {"algo": "glora"}, "GLoRA"),
    "ia3": (LINEAR, {"algo": "ia3"}, "IA3"),
    "full": ((f"{INNER}.attn2.to_k",), {"algo": "full"}, "Full (difference of weights)"),
    "norms": (
        (f"{INNER}.norm1",),
        {"algo": "locon", "train_norm": True},
        "Norm (difference of norms) + difference of biases",
    ),
    "tlora": (LINEAR[:2], {"algo": "tlora"}, "T-LoRA"),
}


def exhibits(folder: Path) -> Iterator[Made]:
    """All of them, written into ``folder`` one after another."""
    for name, (layers, options, called) in ON_SD15.items():
        path = folder / f"kohya-sd15-{name}.safetensors"
        kohya(path, _sd15(*layers), layers, **options)
        yield Made(path=path, by=f"{BY}, {name}", layout="K-SD", table="sd15", algorithms=(called,), guess=None)
        forget()
    yield from _families(folder)


def _families(folder: Path) -> Iterator[Made]:
    def saved(name: str, write: Callable[..., None], *given: Any, **options: Any) -> Path:
        path = folder / f"{name}.safetensors"
        write(path, *given, **options)
        forget()
        return path

    both = saved("kohya-sd15-text", kohya, _sd15(*LINEAR), LINEAR, model("clip l", *CLIP), algo="locon")
    yield Made(path=both, by=BY, layout="K-SD", table="sd15", algorithms=("LoRA",), guess="sd15")
    layers = (*LINEAR, "add_embedding.linear_1", "down_blocks.2.attentions.0.transformer_blocks.9.attn2.to_k")
    xl = saved(
        "kohya-sdxl", kohya, model("sdxl", *layers), layers, [model("clip l", *CLIP), model("clip g")], algo="loha"
    )
    yield Made(path=xl, by=BY, layout="K-XL-diff", table="sdxl", algorithms=("LoHa",), guess="sdxl")
    for name, tree, layout, table, guess in (
        ("flux", BFL, "K-FLUX", "flux dev", "flux"),
        ("sd3", MMDIT, "K-SD3", "sd3 medium", "sd3"),
        ("wan", WAN_NATIVE, "K-WAN", "wan 2.1-t2v-1.3b", "wan"),
    ):
        for algo, called in (("locon", "LoRA"), ("lokr", "LoKr")):
            path = saved(f"kohya-{name}-{algo}", kohya, of_linears(tree), tuple(tree), algo=algo, factor=8)
            yield Made(path=path, by=BY, layout=layout, table=table, algorithms=(called,), guess=guess)
    for name, layers, table in (
        ("flux", FLUX, "flux dev"),
        ("sd3", SD3, "sd3 medium"),
        ("wan", WAN, "wan 2.1-t2v-1.3b"),
    ):
        path = saved(f"lycoris-{name}-lokr", alone, model(name, *layers), layers, algo="lokr", factor=16)
        guess = ALIKE if name == "flux" else name
        yield Made(path=path, by=BY, layout="T-SIMPLE", table=table, algorithms=("LoKr",), guess=guess)
    for name, layers, table in (("qwen", QWEN, "qwen-image"), ("z-image", Z_IMAGE, "z-image")):
        path = saved(f"kohya-{name}-loha", kohya, model(name, *layers), layers, algo="loha")
        layout = {"qwen": "K-QWEN", "z-image": "K-ZIMG"}[name]
        yield Made(path=path, by=BY, layout=layout, table=table, algorithms=("LoHa",), guess=table)
