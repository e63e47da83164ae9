"""Families of models as trees of modules: what an adapter for each of them can fit, without a model at hand.

Names are those of diffusers and transformers, shapes those of the published weights. Nothing is built on import: a tree
is made when it is asked for, and kept. Text encoders that adapters leave alone (Qwen, Llama, Mistral) are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from sakuga.tensors.names import NameMap
from sakuga.tensors.seat import Shape, Tree
from sakuga.tensors.tables.families.flux import chroma, flux, hunyuan_video
from sakuga.tensors.tables.families.flux2 import flux2
from sakuga.tensors.tables.families.qwen_image import qwen_image
from sakuga.tensors.tables.families.sd3 import sd3
from sakuga.tensors.tables.families.text import clip_g, clip_h, clip_l, t5, umt5
from sakuga.tensors.tables.families.unet import motion_modules, unet
from sakuga.tensors.tables.families.wan import wan
from sakuga.tensors.tables.families.z_image import z_image

Build = Callable[[], Mapping[str, Tree]]


@dataclass(frozen=True, kw_only=True)
class FamilyTable:
    """One kind of model. ``name`` is the family's ("flux"), ``variant`` tells members apart ("schnell", or empty)."""

    name: str
    title: str
    build: Build
    variant: str = ""

    def trees(self) -> Mapping[str, Tree]:
        """Component ("unet", "text_encoder_2") → its tree; made once."""
        return _built(self.build)

    def names(self) -> NameMap:
        """What its modules are called in files; made once. Layers without a bias count as able to get one."""
        return _named(self.build)


@cache
def _built(build: Build) -> Mapping[str, Tree]:
    return build()


@cache
def _named(build: Build) -> NameMap:
    return NameMap.of(
        {
            component: {module: _with_bias(parameters) for module, parameters in tree.items()}
            for component, tree in _built(build).items()
        }
    )


def _with_bias(parameters: Mapping[str, Shape]) -> Mapping[str, Shape]:
    weight = parameters.get("weight", ())
    return parameters if len(weight) < 2 else {"bias": weight[:1], **parameters}


def _sd1(in_channels: int = 4) -> Mapping[str, Tree]:
    return {"unet": unet(context=768, in_channels=in_channels), "text_encoder": clip_l()}


def _sd2() -> Mapping[str, Tree]:
    return {"unet": unet(context=1024, linear_projection=True), "text_encoder": clip_h()}


def _sdxl() -> Mapping[str, Tree]:
    tree = unet(
        widths=(320, 640, 1280),
        depths=(0, 2, 10),
        middle_depth=10,
        context=2048,
        linear_projection=True,
        added=2816,
    )
    return {"unet": tree, "text_encoder": clip_l(), "text_encoder_2": clip_g()}


def _sdxl_refiner() -> Mapping[str, Tree]:
    tree = unet(
        widths=(384, 768, 1536, 1536),
        depths=(0, 4, 4, 0),
        middle_depth=4,
        context=1280,
        linear_projection=True,
        added=2560,
    )
    return {"unet": tree, "text_encoder_2": clip_g()}


def _sd3(transformer: Callable[[], Tree]) -> Build:
    return lambda: {
        "transformer": transformer(),
        "text_encoder": clip_l(projection=True),
        "text_encoder_2": clip_g(),
        "text_encoder_3": t5(),
    }


def _flux(*, guidance: bool) -> Mapping[str, Tree]:
    return {"transformer": flux(guidance=guidance), "text_encoder": clip_l(), "text_encoder_2": t5()}


def _wan(transformer: Callable[[], Tree], *, experts: bool = False) -> Build:
    """Wan 2.2 A14B has two experts of one shape, for much and for little noise."""

    def build() -> Mapping[str, Tree]:
        tree = transformer()
        return {"transformer": tree, **({"transformer_2": tree} if experts else {}), "text_encoder": umt5()}

    return build


def _animatediff(*, middle: bool) -> Mapping[str, Tree]:
    return {"unet": {**unet(context=768), **motion_modules(middle=middle)}, "text_encoder": clip_l()}


def _wan_14b(inputs: int = 16, image: int | None = None) -> Tree:
    return wan(width=5120, inner=13824, depth=40, inputs=inputs, image=image)


FAMILIES: tuple[FamilyTable, ...] = (
    FamilyTable(name="sd15", title="SD 1.x", build=_sd1),
    FamilyTable(name="sd15", variant="inpainting", title="SD 1.x inpainting", build=lambda: _sd1(9)),
    FamilyTable(name="sd2", title="SD 2.x", build=_sd2),
    FamilyTable(name="sdxl", title="SDXL", build=_sdxl),
    FamilyTable(name="sdxl-refiner", title="SDXL refiner", build=_sdxl_refiner),
    FamilyTable(name="sd3", variant="medium", title="SD 3 medium", build=_sd3(lambda: sd3(depth=24))),
    FamilyTable(
        name="sd3",
        variant="3.5-medium",
        title="SD 3.5 medium",
        build=_sd3(lambda: sd3(depth=24, dual=13, normed=True)),
    ),
    FamilyTable(name="sd3", variant="3.5-large", title="SD 3.5 large", build=_sd3(lambda: sd3(depth=38, normed=True))),
    FamilyTable(name="flux", variant="dev", title="Flux.1 dev", build=lambda: _flux(guidance=True)),
    FamilyTable(name="flux", variant="schnell", title="Flux.1 schnell", build=lambda: _flux(guidance=False)),
    FamilyTable(name="chroma", title="Chroma", build=lambda: {"transformer": chroma(), "text_encoder": t5()}),
    FamilyTable(
        name="flux2",
        variant="dev",
        title="Flux.2 dev",
        build=lambda: {"transformer": flux2(width=6144, double=8, single=48, text=15360, guidance=True)},
    ),
    FamilyTable(
        name="flux2",
        variant="klein-9b",
        title="Flux.2 klein 9B",
        build=lambda: {"transformer": flux2(width=4096, double=8, single=24, text=12288, guidance=False)},
    ),
    FamilyTable(
        name="flux2",
        variant="klein-4b",
        title="Flux.2 klein 4B",
        build=lambda: {"transformer": flux2(width=3072, double=5, single=20, text=7680, guidance=False)},
    ),
    FamilyTable(
        name="wan",
        variant="2.1-t2v-1.3b",
        title="Wan 2.1 1.3B",
        build=_wan(lambda: wan(width=1536, inner=8960, depth=30)),
    ),
    FamilyTable(name="wan", variant="2.1-t2v-14b", title="Wan 2.1 14B", build=_wan(_wan_14b)),
    FamilyTable(
        name="wan",
        variant="2.1-i2v-14b",
        title="Wan 2.1 14B with a picture",
        build=_wan(lambda: _wan_14b(36, 1280)),
    ),
    FamilyTable(
        name="wan",
        variant="2.2-ti2v-5b",
        title="Wan 2.2 5B",
        build=_wan(lambda: wan(width=3072, inner=14336, depth=30, inputs=48, outputs=48)),
    ),
    FamilyTable(name="wan", variant="2.2-t2v-a14b", title="Wan 2.2 A14B", build=_wan(_wan_14b, experts=True)),
    FamilyTable(
        name="wan",
        variant="2.2-i2v-a14b",
        title="Wan 2.2 A14B with a picture",
        build=_wan(lambda: _wan_14b(36), experts=True),
    ),
    FamilyTable(name="qwen-image", title="Qwen-Image", build=lambda: {"transformer": qwen_image()}),
    FamilyTable(name="z-image", title="Z-Image", build=lambda: {"transformer": z_image()}),
    FamilyTable(
        name="hunyuan-video",
        title="HunyuanVideo",
        build=lambda: {"transformer": hunyuan_video(), "text_encoder_2": clip_l()},
    ),
    FamilyTable(name="animatediff", variant="v1", title="AnimateDiff v1", build=lambda: _animatediff(middle=False)),
    FamilyTable(name="animatediff", variant="v2", title="AnimateDiff v2", build=lambda: _animatediff(middle=True)),
    FamilyTable(name="animatediff", variant="v3", title="AnimateDiff v3", build=lambda: _animatediff(middle=False)),
)
