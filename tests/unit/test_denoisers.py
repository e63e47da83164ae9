"""The layers of a Denoiser, each with fakes of one line where that is enough, and with tiny true networks where not."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel

from sakuga.models.schedule import Schedule
from sakuga.render.denoisers import Call, Texts
from sakuga.render.denoisers.chunked import chunked
from sakuga.render.denoisers.guided import guided
from sakuga.render.denoisers.predict import predict, to_clean
from sakuga.render.denoisers.smoothed import smoothed
from sakuga.render.denoisers.windowed import windowed
from sakuga.render.windows import batches, sliding, weights

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


def call(frames=range(FRAMES), halves=("positive",), step=0):
    return Call(level=LEVEL, step=step, frames=frames, halves=halves)


def near(a, b):
    assert (a - b).abs().max() <= 1e-5 * b.abs().max()


# predict


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_true_prediction_gives_the_clean_picture(prediction):
    clean, noise = random(2, 4, 3, 3, seed=5), random(2, 4, 3, 3, seed=6)
    x = LEVEL.alpha * clean + LEVEL.sigma * noise
    answer = noise if prediction == "epsilon" else LEVEL.alpha * noise - LEVEL.sigma * clean
    torch.testing.assert_close(to_clean(answer, x, LEVEL, prediction), clean, rtol=1e-4, atol=1e-5)


def test_velocity_is_finite_at_pure_noise():
    level = Schedule.linear(prediction="v_prediction", zero_terminal_snr=True).level(999)
    assert torch.equal(to_clean(-X, X, level, "v_prediction"), X)


def test_the_unet_hears_the_raw_timestep_and_its_own_text(unet):
    level = EPSILON.fractional_levels(7)[1]
    both = Call(level=level, step=1, frames=range(FRAMES), halves=("positive", "negative"))
    ours = predict(unet, EPSILON, TEXTS)(torch.cat([X, X]), both)
    for text, part in zip((TEXTS.positive, TEXTS.negative), ours.split(FRAMES), strict=True):
        with torch.no_grad():
            noise = unet(X, level.timestep, text.expand(FRAMES, -1, -1)).sample
        near(part, to_clean(noise, X, level, "epsilon"))
    assert level.timestep == 832.5


def test_a_network_of_half_precision_still_gives_float32(unet):
    half = UNet2DConditionModel.from_config(unet.config).to(torch.bfloat16).eval()
    half.load_state_dict(unet.state_dict())
    ours = predict(half, EPSILON, TEXTS)(X, call())
    assert ours.dtype == torch.float32
    exact = predict(unet, EPSILON, TEXTS)(X, call())
    assert (ours - exact).abs().max() < 0.05 * exact.abs().max()


def test_whoever_gives_rows_their_weights_hears_of_every_call(unet):
    heard = []
    ask = predict(unet, EPSILON, TEXTS, before_call=heard.append)
    windowed(guided(ask, TEXTS, 5.0), sliding(FRAMES, 4, 3))(X, LEVEL, 2)
    assert [(c.step, c.frames, c.halves) for c in heard] == [
        (2, range(4), ("positive", "negative")),
        (2, range(3, 7), ("positive", "negative")),
    ]
    assert heard[0].rows[3:5] == (("positive", 3), ("negative", 0))


# guided


def test_guidance_one_skips_the_negative_half_and_gives_what_running_it_gives(unet):
    ask = predict(unet, EPSILON, TEXTS)
    seen = []

    def watching(x, c):
        seen.append(c.halves)
        return ask(x, c)

    alone = guided(watching, TEXTS, 1.0)(X, LEVEL, 0, range(FRAMES))
    both = ask(torch.cat([X, X]), call(halves=("positive", "negative")))
    positive, negative = both.split(FRAMES)
    assert seen == [("positive",)]
    near(alone, negative + 1.0 * (positive - negative))


def test_guidance_zero_is_the_negative_prompt(unet):
    ask = predict(unet, EPSILON, TEXTS)
    near(guided(ask, TEXTS, 0.0)(X, LEVEL, 0, range(FRAMES)), ask(X, call(halves=("negative",))))


def test_guidance_of_clean_estimates_is_guidance_of_the_noise(unet):
    with torch.no_grad():
        positive, negative = (
            unet(X, LEVEL.timestep, text.expand(FRAMES, -1, -1)).sample for text in (TEXTS.positive, TEXTS.negative)
        )
    noise = negative + 7.0 * (positive - negative)
    ours = guided(predict(unet, EPSILON, TEXTS), TEXTS, 7.0)(X, LEVEL, 0, range(FRAMES))
    near(ours, to_clean(noise, X, LEVEL, "epsilon"))


def test_prompts_of_different_length_run_one_after_the_other(unet):
    longer = Texts(positive=TEXTS.positive, negative=torch.cat([TEXTS.negative] * 2, dim=1))  # the same to attention
    seen = []

    def watching(x, c):
        seen.append(c.halves)
        return predict(unet, EPSILON, longer)(x, c)

    apart = guided(watching, longer, 7.0)(X, LEVEL, 0, range(FRAMES))
    assert seen == [("positive",), ("negative",)]
    near(apart, guided(predict(unet, EPSILON, TEXTS), TEXTS, 7.0)(X, LEVEL, 0, range(FRAMES)))


# windowed


def test_windows_average_by_their_shares():
    numbers = iter([1.0, 3.0])
    result = windowed(lambda x, level, step, frames: torch.full_like(x, next(numbers)), sliding(6, 4, 2))(
        X[:6], LEVEL, 0
    )
    assert result[:2].unique().item() == 1 and result[4:].unique().item() == 3
    own = weights(4)
    expected = [(own[i] * 1 + own[i - 2] * 3) / (own[i] + own[i - 2]) for i in (2, 3)]
    assert [result[i, 0, 0, 0].item() for i in (2, 3)] == pytest.approx(expected, rel=1e-5)


def test_all_windows_see_the_same_x_and_their_own_frames():
    seen = []

    def denoise(x, level, step, frames):
        seen.append((frames, x.clone()))
        return x * 2

    result = windowed(denoise, sliding(FRAMES, 4, 3))(X, LEVEL, 0)
    assert [frames for frames, _ in seen] == [range(4), range(3, 7)]
    assert all(torch.equal(x, X[frames.start : frames.stop]) for frames, x in seen)
    torch.testing.assert_close(result, X * 2)


def test_plain_batches_give_bit_for_bit_what_came(unet):
    ask = guided(predict(unet, EPSILON, TEXTS), TEXTS, 1.0)
    result = windowed(ask, batches(FRAMES, 3))(X, LEVEL, 0)
    assert torch.equal(result[3:6], ask(X[3:6], LEVEL, 0, range(3, 6)))


# chunked and smoothed


def test_parts_of_a_call_have_their_rows_of_both_halves():
    seen = []

    def ask(x, c, residuals=None):
        seen.append(
            (c.frames, c.rows, x[:, 0, 0, 0].tolist(), [part[:, 0].tolist() for part in (*residuals[0], residuals[1])])
        )
        return x * 2

    both = call(frames=range(3, 8), halves=("positive", "negative"))
    x = torch.arange(10.0)[:, None, None, None]
    said = torch.arange(10.0)[:, None]
    answer = chunked(ask, 2)(x, both, ([said, said + 100], said + 200))
    assert torch.equal(answer, x * 2)
    assert [frames for frames, *_ in seen] == [range(3, 5), range(5, 7), range(7, 8)]
    assert seen[1][1] == (("positive", 5), ("positive", 6), ("negative", 5), ("negative", 6))
    assert seen[1][2] == [2, 3, 7, 8] and seen[1][3] == [[2, 3, 7, 8], [102, 103, 107, 108], [202, 203, 207, 208]]


def test_parts_give_what_the_whole_gives(unet):
    ask = predict(unet, EPSILON, TEXTS)
    near(chunked(ask, 3)(X, call()), ask(X, call()))


def test_only_the_chosen_steps_are_smoothed():
    denoise = smoothed(lambda x, level, step: x, {1, 5}, lambda clean: clean + 1)
    assert [bool((denoise(X, LEVEL, step) != X).any()) for step in range(3)] == [False, True, False]
