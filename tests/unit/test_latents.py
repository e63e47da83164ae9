"""Frames to latents and back in batches, and the latent a run starts from."""

from __future__ import annotations

import pytest
import torch

from sakuga.models.schedule import Schedule
from sakuga.render import latents
from sakuga.render.noise import draw


class Halves:
    """A codec that keeps every second pixel, and remembers how many frames came at once."""

    def __init__(self):
        self.sizes = []

    def encode(self, pixels):
        assert not torch.is_grad_enabled()
        self.sizes.append(len(pixels))
        return pixels[:, :, ::2, ::2]

    def decode(self, coded):
        assert not torch.is_grad_enabled()
        self.sizes.append(len(coded))
        return coded.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


FRAMES = torch.arange(7 * 3 * 4 * 6, dtype=torch.float32).reshape(7, 3, 4, 6)


def test_encoding_keeps_to_the_budget_and_gives_all_frames():
    codec = Halves()
    assert torch.equal(latents.encode(codec, FRAMES, pixels=3 * 4 * 6), FRAMES[:, :, ::2, ::2])
    assert codec.sizes == [3, 3, 1]


def test_decoding_keeps_to_the_budget_and_is_lazy():
    codec = Halves()
    coded = FRAMES[:, :, ::2, ::2]
    frames = latents.decode(codec, coded, pixels=3 * 4 * 6)
    first = next(frames)
    assert codec.sizes == [1] and torch.is_grad_enabled()
    rest = list(frames)
    assert codec.sizes == [1, 3, 3]
    with torch.no_grad():
        assert torch.equal(torch.stack([first, *rest]), Halves().decode(coded))


@pytest.mark.parametrize(("height", "width", "count"), [(512, 512, 4), (256, 256, 16), (4096, 4096, 1)])
def test_frames_at_once(height, width, count):
    assert latents.frames_at_once(height, width) == count


def test_a_run_starts_from_noise_or_from_a_noised_picture():
    level = Schedule.linear().level(500)
    noise, clean = draw(0, 0, (1, 2, 4, 4)), draw(1, 0, (1, 2, 4, 4)).double()
    assert torch.equal(latents.start(None, noise, level), noise)
    mixed = latents.start(clean, noise, level)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, level.alpha * clean.float() + level.sigma * noise)


def test_the_noise_can_be_taken_off_again():
    level = Schedule.scaled_linear().level(0)
    noise, clean = draw(0, 0, (1, 2, 4, 4)), draw(1, 0, (1, 2, 4, 4))
    back = (latents.add_noise(clean, noise, level) - level.sigma * noise) / level.alpha
    torch.testing.assert_close(back, clean)
