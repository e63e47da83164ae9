"""The evidence for a family of models: names first, then widths, then metadata; where several fit, all are named."""

from __future__ import annotations

import pytest

from sakuga.lora.family import guess_family
from sakuga.lora.family_evidence import FAMILIES as EVIDENCE
from sakuga.lora.family_evidence import STATED
from sakuga.tensors.tables.families import FAMILIES, FamilyTable

MID = "lora_unet_mid_block_attentions_0_transformer_blocks_0"


@pytest.mark.parametrize(
    ("family", "name", "features"),
    [
        ("sd15", "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 768),
        ("sd15", "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v", 768),
        ("sd15", "lora_te_text_model_encoder_layers_3_self_attn_q_proj", 768),
        ("sd2", f"{MID}_attn2_to_k", 1024),
        ("sd2", "lora_te_text_model_encoder_layers_22_self_attn_q_proj", 1024),
        ("sdxl", f"{MID}_attn2_to_k", 2048),
        ("sdxl", "lora_unet_mid_block_attentions_0_transformer_blocks_9_attn1_to_q", 1280),
        ("sdxl", "lora_unet_input_blocks_8_1_transformer_blocks_9_attn1_to_q", None),
        ("sdxl-refiner", f"{MID}_attn2_to_k", 1280),
        ("hunyuan-video", "lora_unet_double_blocks_0_img_mlp_fc1", 3072),
        ("hunyuan-image", "lora_unet_double_blocks_0_img_attn_qkv", 3584),
        ("flux2", "lora_unet_double_blocks_0_img_attn_qkv", 6144),
        ("sd3", "lora_unet_joint_blocks_0_x_block_attn_qkv", 1536),
        ("sd3", "transformer.transformer_blocks.0.attn.to_q", 1536),
        ("wan", "lora_unet_blocks_0_self_attn_q", 1536),
        ("wan", "blocks.0.cross_attn.k_img", 5120),
        ("anima", "lora_unet_blocks_0_self_attn_q_proj", 2048),
        ("qwen-image", "lora_unet_transformer_blocks_0_img_mlp_net_0_proj", 3072),
        ("qwen-image", "transformer.transformer_blocks.59.attn.to_q", 3072),
        ("z-image", "lora_unet_layers_0_attention_to_q", 3840),
        ("lumina2", "lora_unet_layers_0_attention_qkv", 2304),
        ("pixart", "transformer.transformer_blocks.0.attn2.to_k", 1152),
        ("chroma", "distilled_guidance_layer.in_proj", 64),
        ("cascade", "lora_prior_unet_down_blocks_0_1_0", None),
        ("animatediff", "down_blocks.0.motion_modules.0.temporal_transformer.proj_in", 320),
    ],
)
def test_names_and_widths_tell_the_family(family: str, name: str, features: int | None) -> None:
    guess = guess_family([("a_name_of_nobody", (4, 4)), (name, (None, features))], {})
    assert (guess.family, guess.possible, guess.alternatives) == (family, (family,), ())
    assert name in guess.reason


@pytest.mark.parametrize(
    ("families", "name", "features"),
    [
        ({"flux", "chroma", "hunyuan-video", "flux2"}, "lora_unet_double_blocks_0_img_attn_qkv", 3072),
        ({"flux", "chroma", "hunyuan-video"}, "lora_unet_double_blocks_18_img_attn_qkv", 3072),
        (
            {"flux", "chroma", "hunyuan-video", "flux2", "qwen-image"},
            "transformer.transformer_blocks.0.attn.to_q",
            3072,
        ),
        ({"sdxl", "sd3", "sdxl-refiner"}, "lora_te2_text_model_encoder_layers_31_mlp_fc1", None),
        ({"sd15", "sd2"}, "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q", 320),
    ],
)
def test_an_attention_only_file_that_fits_several_families_is_not_guessed(
    families: set[str], name: str, features: int
) -> None:
    guess = guess_family([(name, (None, features))], {})
    assert guess.family is None
    assert set(guess.alternatives) == set(guess.possible) == families
    assert " or " in guess.phrase


def test_a_block_beyond_a_family_s_last_one_decides() -> None:
    attention = "lora_unet_double_blocks_{}_img_attn_qkv"
    guess = guess_family([(attention.format(n), (9216, 3072)) for n in range(20)], {})
    assert guess.family == "hunyuan-video"
    assert guess.reason == "names such as lora_unet_double_blocks_19_img_attn_qkv"


def test_metadata_is_a_hint_among_what_names_and_widths_leave() -> None:
    attention = [("lora_unet_double_blocks_0_img_attn_qkv", (9216, 3072))]
    assert guess_family(attention, {"ss_base_model_version": "hunyuan_video"}).family == "hunyuan-video"
    assert guess_family(attention, {"ss_base_model_version": "flux1"}).family == "flux"
    assert guess_family(attention, {"ss_base_model_version": "sd_v1"}).family is None
    stated = {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}
    assert guess_family([("lora_unet_conv_in", (320, 4))], stated).family == "sdxl"
    assert guess_family([(f"{MID}_attn2_to_k", (320, 768))], stated).family == "sd15"
    assert guess_family([], stated).family == "sdxl"


def test_a_family_that_stays_open_says_which_it_may_be() -> None:
    guess = guess_family([("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q", (24, 24))], {})
    assert guess.family is None and guess.told.startswith("it may be an SD 1.x, SD 2.x, SDXL or ")
    assert guess.told.endswith("_attn1_to_q; these widths are of no one published model")


def test_widths_of_no_published_model_leave_what_the_names_say() -> None:
    guess = guess_family([(f"{MID}_attn2_to_k", (32, 64))], {})
    assert (guess.family, set(guess.alternatives)) == (None, {"sd15", "sd2", "sdxl", "sdxl-refiner"})
    assert guess_family([("lora_unet_double_blocks_0_img_mod_lin", (24, 4))], {}).family == "flux"


@pytest.mark.parametrize("table", FAMILIES, ids=lambda table: f"{table.name} {table.variant}")
def test_every_published_tree_is_known_for_its_family(table: FamilyTable) -> None:
    extents = [
        (f"{component}.{module}", (shapes["weight"][0], shapes["weight"][1]))
        for component, tree in table.trees().items()
        for module, shapes in tree.items()
        if len(shapes.get("weight", ())) > 1 and "motion_modules" not in module
    ]
    guess = guess_family(extents, {})
    assert guess.family == ("sd15" if table.name == "animatediff" else table.name)


def test_the_names_of_the_evidence_are_those_of_the_trees() -> None:
    known = {evidence.name for evidence in EVIDENCE}
    assert {table.name for table in FAMILIES} <= known
    assert {family for family, _ in STATED} <= known


@pytest.mark.parametrize(
    ("family", "stated"),
    [
        ("sd15", "sd_v1"),
        ("sd15", "stable-diffusion-v1/lora"),
        ("sd15", "runwayml/stable-diffusion-v1-5"),
        ("sd2", "stable-diffusion-v2-768-v"),
        ("sdxl", "sdxl_base_v1-0"),
        ("sdxl", "stabilityai/stable-diffusion-xl-base-1.0"),
        ("sd3", "stable-diffusion-v3.5-large/lora"),
        ("sd3", "stabilityai/stable-diffusion-3.5-medium"),
        ("flux", "flux1"),
        ("flux", "Flux.1-dev/lora"),
        ("flux", "black-forest-labs/FLUX.1-dev"),
        ("flux2", "flux_2_klein_4b"),
        ("flux2", "Flux.2-dev"),
        ("wan", "wan2.1"),
        ("qwen-image", "qwen_image_edit"),
        ("z-image", "Z-Image"),
        ("hunyuan-video", "framepack"),
    ],
)
def test_what_trainers_call_a_base(family: str, stated: str) -> None:
    assert guess_family([], {"ss_base_model_version": stated}).family == family
