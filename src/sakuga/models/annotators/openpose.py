"""The three networks of OpenPose: where joints of bodies, hands and faces are, as maps at an eighth of the size.

Each guesses from the features of a picture and then corrects its guess five times, looking at features and guess.
Sources: Cao et al., "OpenPose: Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields" (2019); Simon et
al., "Hand Keypoint Detection in Single Images using Multiview Bootstrapping" (2017).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sakuga.models.annotators.weights import Weights

FACTOR = 8  # pixels of the picture to a number of the maps
FIELDS = 38  # the first maps of a body: directions along its limbs, (x, y) in turn; the others: its joints
ROUNDS = range(2, 7)
POOL = "pool"
FIRST = ("conv1_1", "conv1_2", POOL, "conv2_1", "conv2_2", POOL, "conv3_1", "conv3_2", "conv3_3", "conv3_4", POOL)
BODY = (*FIRST, "conv4_1", "conv4_2", "conv4_3_CPM", "conv4_4_CPM")
PART = (*FIRST, "conv4_1", "conv4_2", "conv4_3", "conv4_4", "conv5_1", "conv5_2", "conv5_3_CPM")


def body(weights: Weights, pixels: Tensor) -> Tensor:
    """38 maps of limbs and 19 of joints (the last: none): RGB [B, 3, H, W] in 0 … 255 to [B, 57, H / 8, W / 8]."""
    features = _features(weights, BODY, pixels)
    guess = torch.cat([_chain(weights, [f"conv5_{n}_CPM_L{b}" for n in range(1, 6)], features) for b in (1, 2)], dim=1)
    for number in ROUNDS:
        seen = torch.cat([guess, features], dim=1)
        branches = [[f"Mconv{n}_stage{number}_L{branch}" for n in range(1, 8)] for branch in (1, 2)]
        guess = torch.cat([_chain(weights, names, seen) for names in branches], dim=1)
    return torch.cat([guess[:, :FIELDS], F.relu(guess[:, FIELDS:])], dim=1)  # with a ramp behind, as it is in use


def part(weights: Weights, pixels: Tensor) -> Tensor:
    """A map for each point of a hand (22) or a face (71), the last: none; RGB 0 … 255 to [B, points, H / 8, W / 8]."""
    features = _features(weights, PART, pixels)
    guess = _chain(weights, ["conv6_1_CPM", "conv6_2_CPM"], features)
    for number in ROUNDS:
        names = [f"Mconv{n}_stage{number}" for n in range(1, 8)]
        guess = _chain(weights, names, torch.cat([guess, features], dim=1))
    return guess


def _features(weights: Weights, names: tuple[str, ...], pixels: Tensor) -> Tensor:
    """What the picture holds. The networks were trained on blue, green, red."""
    x = pixels.flip(1) / 256 - 0.5
    for name in names:
        x = F.max_pool2d(x, 2) if name == POOL else F.relu(weights.conv(name, x))
    return x


def _chain(weights: Weights, names: list[str], x: Tensor) -> Tensor:
    """Convolutions with a ramp behind each but the last."""
    for name in names[:-1]:
        x = F.relu(weights.conv(name, x))
    return weights.conv(names[-1], x)
