"""ControlNets in the Denoiser: what they add, that each row is computed once, and when they are left alone."""

from __future__ import annotations

import inspect
from collections import Counter

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import nn

from sakuga.models.schedule import Schedule
from sakuga.render.denoisers import Call, Texts
from sakuga.render.denoisers.controlled import Control, controlled, steady
from sakuga.render.denoisers.guided import guided
from sakuga.render.denoisers.predict import predict, to_clean
from sakuga.render.denoisers.windowed import windowed
from sakuga.render.windows import batches, sliding

FRAMES = 7
EPSILON = Schedule.scaled_linear()
LEVEL = EPSILON.level(700)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


X = random(FRAMES, 4, 8, 8)
TEXTS = Texts(positive=random(1, 5, 16, seed=1), negative=random(1, 5, 16, seed=2))


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()


@pytest.fixture(scope="module")
def nets(unet):
    made = []
    for seed in (3, 4):
        torch.manual_seed(seed)
        net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16, 16)).eval()
        for parameter in net.parameters():  # from_unet leaves the outlets at zero
            nn.init.normal_(parameter, std=0.1)
        made.append(net)
    return made


def call(frames=range(FRAMES), halves=("positive",), step=0):
    return Call(level=LEVEL, step=step, frames=frames, halves=halves)


def near(a, b):
    assert (a - b).abs().max() <= 1e-5 * b.abs().max()


class Counting(nn.Module):
    """A ControlNet that remembers which rows it was asked for, by the mark in the first pixel of each picture."""

    def __init__(self, net):
        super().__init__()
        self.net, self.rows, self.calls = net, Counter(), 0

    def forward(self, x, timestep, encoder_hidden_states, controlnet_cond, return_dict):
        self.calls += 1
        for text, picture in zip(encoder_hidden_states, controlnet_cond, strict=True):
            self.rows[(round(text[0, 0].item(), 4), round(picture[0, 0, 0].item() * 100))] += 1
        return self.net(x, timestep, encoder_hidden_states, controlnet_cond, return_dict=return_dict)


def pictures(seed):
    made = random(FRAMES, 3, 64, 64, seed=seed).clamp(0, 1)
    made[:, 0, 0, 0] = torch.arange(FRAMES) / 100
    return made


@pytest.fixture
def counted(nets):
    return [Counting(net) for net in nets]


def stack(unet, controls, windows, guidance=6.0, texts=TEXTS, batch=8):
    return windowed(guided(controlled(predict(unet, EPSILON, texts), controls, texts, batch), texts, guidance), windows)


def by_hand(unet, net_scales, text, frames=slice(None), level=LEVEL):
    """One pass of the UNet with the residuals of all nets for all frames, without any cache, guidance or window."""
    rows = len(X[frames])
    with torch.no_grad():
        total = None
        for (net, shown), scale in net_scales:
            down, middle = net(
                X[frames],
                level.timestep,
                text.expand(rows, -1, -1),
                shown[frames],
                conditioning_scale=scale,
                return_dict=False,
            )
            parts = [*down, middle]
            total = parts if total is None else [a + b for a, b in zip(total, parts, strict=True)]
        noise = unet(
            X[frames],
            level.timestep,
            text.expand(rows, -1, -1),
            down_block_additional_residuals=total[:-1],
            mid_block_additional_residual=total[-1],
        ).sample
    return to_clean(noise, X[frames], level, "epsilon")


@pytest.mark.parametrize("batch", [1, 3, 50])
def test_what_two_controlnets_say_is_added_up_at_their_scales(unet, nets, batch):
    shown = [pictures(7), pictures(8)]
    controls = [
        Control(net=net, pictures=own, scale=steady(scale, 4))
        for net, own, scale in zip(nets, shown, (0.5, 1.3), strict=True)
    ]
    ours = controlled(predict(unet, EPSILON, TEXTS), controls, TEXTS, batch)(X, call())
    reference = by_hand(unet, list(zip(zip(nets, shown, strict=True), (0.5, 1.3), strict=True)), TEXTS.positive)
    near(ours, reference)
    without = predict(unet, EPSILON, TEXTS)(X, call())
    assert (ours - without).abs().max() > 1e-3 * without.abs().max()


def test_each_row_is_computed_once_however_many_windows_see_it(unet, counted):
    shown = pictures(7)
    windows = sliding(FRAMES, 4, 1)
    controls = [Control(net=net, pictures=shown, scale=steady(0.7, 2)) for net in counted]
    denoise = stack(unet, controls, windows)
    for step in (0, 1):
        result = denoise(X, LEVEL, step)
    for net in counted:
        assert len(net.rows) == 2 * FRAMES and set(net.rows.values()) == {2}  # twice: once in each of two steps
    positive, negative = (
        windowed(
            lambda x, level, step, frames, text=text: by_hand(
                unet, [((net.net, shown), 0.7) for net in counted], text, slice(frames.start, frames.stop)
            ),
            windows,
        )(X, LEVEL, 0)
        for text in (TEXTS.positive, TEXTS.negative)
    )
    near(result, negative + 6.0 * (positive - negative))


def test_each_row_is_computed_once_also_when_the_halves_run_apart(unet, counted):
    longer = Texts(positive=TEXTS.positive, negative=torch.cat([TEXTS.negative] * 2, dim=1))
    controls = [Control(net=counted[0], pictures=pictures(7), scale=steady(0.7, 1))]
    apart = stack(unet, controls, sliding(FRAMES, 4, 2), texts=longer)(X, LEVEL, 0)
    assert len(counted[0].rows) == 2 * FRAMES and set(counted[0].rows.values()) == {1}
    near(apart, stack(unet, controls, sliding(FRAMES, 4, 2))(X, LEVEL, 0))


def test_another_x_at_the_same_step_is_not_answered_from_memory(unet, nets):
    controls = [Control(net=nets[0], pictures=pictures(7), scale=steady(1.0, 1))]
    denoise = stack(unet, controls, sliding(FRAMES, 4, 2))
    denoise(X, LEVEL, 0)
    again = denoise(X + 1, LEVEL, 0)
    assert torch.equal(again, stack(unet, controls, sliding(FRAMES, 4, 2))(X + 1, LEVEL, 0))


def test_scale_zero_runs_nothing_and_changes_nothing(unet, counted):
    controls = [Control(net=counted[0], pictures=pictures(7), scale=steady(0.0, 1))]
    assert torch.equal(
        stack(unet, controls, batches(FRAMES, 4))(X, LEVEL, 0), stack(unet, [], batches(FRAMES, 4))(X, LEVEL, 0)
    )
    assert counted[0].calls == 0


def test_a_control_works_only_in_its_share_of_the_steps(unet, counted):
    controls = [Control(net=counted[0], pictures=pictures(7), scale=steady(1.0, 4, start=0.25, end=0.75))]
    denoise = stack(unet, controls, batches(FRAMES, FRAMES), guidance=1.0)
    calls = []
    for step in range(4):
        denoise(X, LEVEL, step)
        calls.append(counted[0].calls)
    assert calls == [0, 1, 2, 2]


def test_a_scale_may_differ_from_frame_to_frame(unet, nets):
    shown = pictures(7)
    controls = [Control(net=nets[0], pictures=shown, scale=lambda step, frame: 0.0 if frame < 3 else 1.0)]
    ours = controlled(predict(unet, EPSILON, TEXTS), controls, TEXTS)(X, call())
    near(ours[:3], predict(unet, EPSILON, TEXTS)(X, call())[:3])
    near(ours[3:], by_hand(unet, [((nets[0], shown), 1.0)], TEXTS.positive)[3:])


def test_only_the_rows_of_a_window_are_kept(unet, nets):
    """Memory of a long Span: what was kept for frames that lie behind is gone."""
    controls = [Control(net=nets[0], pictures=pictures(7), scale=steady(1.0, 1))]
    ask = controlled(predict(unet, EPSILON, TEXTS), controls, TEXTS, batch=1)
    for start in range(FRAMES - 1):
        ask(X[start : start + 2], call(frames=range(start, start + 2)))
        assert set(inspect.getclosurevars(ask).nonlocals["kept"]) == {("positive", start), ("positive", start + 1)}
