"""Names of Z-Image in the single files that ComfyUI reads. Checked in the tests against diffusers' own converter."""

from __future__ import annotations

from sakuga.tensors.tables.naming import Naming, Rules, within

BLOCK: Rules = {
    "attention.qkv": "attention.to_q + attention.to_k + attention.to_v",
    "attention.out": "attention.to_out.0",
    "attention.q_norm": "attention.norm_q",
    "attention.k_norm": "attention.norm_k",
}
Z_IMAGE = Naming(
    own="noise_refiner.0.attention.to_q",
    other="noise_refiner.0.attention.qkv",
    rules={
        **{
            other: own
            for blocks in ("layers.#", "noise_refiner.#", "context_refiner.#")
            for other, own in within(blocks, blocks, BLOCK).items()
        },
        "x_embedder": "all_x_embedder.2-1",
        "final_layer.linear": "all_final_layer.2-1.linear",
        "final_layer.adaLN_modulation.1": "all_final_layer.2-1.adaLN_modulation.1",
    },
)
