"""The networks of the annotators: which there are, and one of them loaded.

A network is a function of ``Weights`` and a picture; the table says in which file people have it. What a file is, its
header tells (``signatures``), and trying the network on tensors without memory tells whether it is whole. They always
compute in float32. Refuses to draw: from a frame to a picture it is ``render/annotators``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sakuga.errors import FileProblem
from sakuga.models.annotators import hed, lines, midas, normalbae, openpose
from sakuga.models.annotators.weights import Weights

TRIAL_PIXELS = 256


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network by its name. ``layout``: what ``recognise`` calls its files; ``file``: their public name.

    ``run``: RGB [B, 3, H, W] in 0 … 255 to maps with ``channels``.
    """

    name: str
    title: str
    layout: str
    file: str
    channels: int
    run: Callable[[Weights, Tensor], Tensor]

    def tried(self, shapes: Mapping[str, tuple[int, ...]]) -> frozenset[str]:
        """The names that it uses of weights of these sizes. Raises FileProblem unless they make it up."""
        weights = Weights.without_memory(shapes)
        try:
            with torch.no_grad():
                maps = self.run(weights, torch.empty(1, 3, TRIAL_PIXELS, TRIAL_PIXELS, device="meta"))
        except (RuntimeError, ValueError, IndexError) as error:  # whatever torch raises for sizes that do not meet
            raise FileProblem(
                f"the sizes of the weights do not make up {self.title}",
                given=" ".join(str(error).split())[:200],
                expected=f"the layout of {self.file}",
                do="fetch the file again, or use another one",
            ) from error
        if maps.shape[1] != self.channels:
            raise FileProblem(
                f"this is another network than {self.title}",
                given=f"{maps.shape[1]} maps",
                expected=f"{self.channels}, as {self.file} has",
                do="use the file of that name",
            )
        return frozenset(weights.used)


NETWORKS: tuple[Network, ...] = (
    Network(name="hed", title="HED", layout="hed", file="ControlNetHED.pth", channels=1, run=hed.edges),
    Network(name="lineart", title="lineart", layout="lineart", file="sk_model.pth", channels=1, run=lines.lineart),
    Network(
        name="lineart_anime",
        title="anime lineart",
        layout="lineart anime",
        file="netG.pth",
        channels=1,
        run=lines.lineart_anime,
    ),
    Network(
        name="midas",
        title="MiDaS DPT-hybrid",
        layout="midas dpt-hybrid",
        file="dpt_hybrid-midas-501f0c75.pt",
        channels=1,
        run=midas.depth,
    ),
    Network(
        name="normalbae",
        title="NormalBae",
        layout="normalbae",
        file="scannet.pt",
        channels=3,
        run=normalbae.normals,
    ),
    Network(
        name="body",
        title="OpenPose body",
        layout="openpose body",
        file="body_pose_model.pth",
        channels=57,
        run=openpose.body,
    ),
    Network(
        name="hand",
        title="OpenPose hand",
        layout="openpose part",
        file="hand_pose_model.pth",
        channels=22,
        run=openpose.part,
    ),
    Network(
        name="face",
        title="OpenPose face",
        layout="openpose part",
        file="facenet.pth",
        channels=71,
        run=openpose.part,
    ),
)


def network_named(name: str) -> Network:
    """The network of that name, which has to be one of the table's."""
    return next(network for network in NETWORKS if network.name == name)


@dataclass(frozen=True, kw_only=True)
class LoadedNetwork:
    """A network with its weights, on ``device``."""

    network: Network
    weights: Weights
    device: torch.device

    def __call__(self, pixels: Tensor) -> Tensor:
        """Maps [C, H', W'] in float32 on the CPU, from one RGB picture [3, H, W] in 0 … 255."""
        with torch.inference_mode():
            batch = pixels.to(self.device, torch.float32)[None]
            return self.network.run(self.weights, batch)[0].to("cpu")
