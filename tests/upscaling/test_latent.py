"""The latent upscalers: their parts, how they learn, and what their options do."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import data, metrics, weights
from course_lib.models.blocks import to_network
from course_lib.upscaling import Cancelled, UpscalingError, load
from course_lib.upscaling.latent import (
    LatentAutoencoder,
    LatentAutoencoderConfig,
    LatentDiffusion,
    LatentDiffusionConfig,
    LatentUpscaler,
    parts,
)
from course_lib.upscaling.latent.start import begin_with_means

TINY = LatentDiffusionConfig(
    autoencoder=(16, 16, 16),
    channels=(16, 32),
    words=("a", "sandal", "coat"),
    text_width=16,
    text_layers=1,
    text_length=8,
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    tiny = LatentDiffusion(TINY).eval()
    begin_with_means(tiny.vae)
    with torch.no_grad():  # so that its answers depend on all that it is told
        tiny.unet.conv_out.weight.mul_(3)
    return tiny


@pytest.fixture(scope="module")
def upscaler(model):
    return LatentUpscaler(model.pipeline(), steps=2)


@pytest.fixture(scope="module")
def lr():
    return data.downscale(data.example("stones")[..., :64, :64], 4)


# the tokenizer


@given(st.lists(st.text("abcdefg", min_size=1, max_size=6), unique=True, max_size=8))
@settings(max_examples=25, deadline=None)
def test_merges_make_each_word_one_token(words):
    pieces = [[*word[:-1], f"{word[-1]}</w>"] for word in words]
    for first, second in parts.byte_pairs(tuple(words)):
        for piece in pieces:
            i = 0
            while i < len(piece) - 1:
                if (piece[i], piece[i + 1]) == (first, second):
                    piece[i : i + 2] = [first + second]
                i += 1
    assert pieces == [[f"{word}</w>"] for word in words]


def test_known_words_are_whole_and_unknown_ones_fall_apart():
    tokenizer = parts.tokenizer(("castle", "cast", "a"))
    assert tokenizer.tokenize("A castle cast") == ["a</w>", "castle</w>", "cast</w>"]
    unknown = tokenizer.tokenize("castles")
    assert len(unknown) > 1
    assert "".join(unknown) == "castles</w>"
    assert tokenizer.tokenize("é?")  # every text can be read
    assert tokenizer.decode(tokenizer("a castle").input_ids, skip_special_tokens=True) == "a castle"


def test_words_must_be_letters():
    with pytest.raises(ValueError, match=r"letters a to z.*t-shirt"):
        parts.tokenizer(("t-shirt",))


def test_texts_are_padded_and_cut_to_one_length(model):
    tokens = model.tokens(["", "a sandal", "a coat " * 20])
    assert tokens.shape == (3, 8)
    end = model.tokenizer.eos_token_id
    assert tokens[0, 1:].tolist() == [end] * 7
    assert tokens[2, -1] == end


# the autoencoder


def test_training_begins_with_mean_colours():
    model = LatentAutoencoder(LatentAutoencoderConfig(channels=(24, 48, 96)))
    begin_with_means(model.vae)
    hr = data.example("stones")[..., :128, :128]
    means = F.avg_pool2d(to_network(hr), 4)
    with torch.inference_mode():
        codes = model.vae.encode(to_network(hr)).latent_dist
        made = model.reconstruct(hr)
    for colour in range(3):
        told = codes.mean[:, colour].flatten()
        assert torch.corrcoef(torch.stack([told, means[:, colour].flatten()]))[0, 1] > 0.995
    assert (codes.std < 0.05).all()
    repeated = F.interpolate(F.avg_pool2d(hr, 4), scale_factor=4)
    assert metrics.psnr(made, repeated, channel="rgb").item() > 22


def test_groups_without_room_for_colours_are_refused():
    with pytest.raises(ValueError, match="at least 8 channels"):
        begin_with_means(parts.autoencoder((16, 16, 16), groups=4))


@pytest.mark.equation("latent-autoencoder")
def test_the_autoencoders_loss():
    torch.manual_seed(1)
    model = LatentAutoencoder(LatentAutoencoderConfig(channels=(16, 16, 16), beta=0.3))
    hr = torch.rand(2, 3, 16, 16)
    loss, logs = model.loss(hr, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        mean, log_variance = model.vae.quant_conv(model.vae.encoder(2 * hr - 1)).chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(4))
        normal = torch.distributions.Normal(mean, (log_variance / 2).exp())
        decoded = model.vae.decoder(model.vae.post_quant_conv(normal.mean + normal.stddev * noise))
        divergence = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0, 1))
    error = (decoded - (2 * hr - 1)).abs().mean()
    assert loss.item() == pytest.approx((error + 0.3 * divergence.mean()).item(), rel=1e-4)
    assert logs["divergence"].item() == pytest.approx(divergence.mean().item(), rel=1e-4)


def test_codes_are_brought_to_the_size_that_the_pipeline_wants():
    torch.manual_seed(2)
    model = LatentAutoencoder(LatentAutoencoderConfig(channels=(16, 16, 16))).eval()
    begin_with_means(model.vae)
    hr = data.example("flowers") if "flowers" in data.EXAMPLES else data.example("stones")
    with torch.inference_mode():
        before = model.reconstruct(hr)
        spread = model.vae.encode(to_network(hr)).latent_dist
        model.latent_std.fill_(float(spread.mean.std()))
        model.standardize()
        after = model.vae.encode(to_network(hr)).latent_dist
        assert torch.allclose(model.reconstruct(hr), before, atol=1e-4)
    assert float(parts.SCALING_FACTOR * after.mean.std()) == pytest.approx(1, rel=1e-3)
    assert torch.allclose(after.std / spread.std, after.mean.std() / spread.mean.std(), rtol=1e-3)


# the diffusion


class Watched(torch.nn.Module):
    """A network that answers 0, and keeps what it was given."""

    def forward(self, sample, t, *, encoder_hidden_states, class_labels):
        self.seen = sample, t, encoder_hidden_states, class_labels
        return type("Output", (), {"sample": torch.zeros_like(sample[:, :4])})


@pytest.mark.equation("latent-loss")
def test_the_loss_is_the_velocitys_squared_error():
    torch.manual_seed(0)
    model = LatentDiffusion(TINY)
    model.unet = Watched()
    n = 400
    lr, codes = torch.rand(n, 3, 4, 4), torch.randn(n, 4, 4, 4)
    tokens = model.tokens(["a coat"]).expand(n, -1)
    loss, _ = model.loss((lr, codes, tokens), generator=torch.Generator().manual_seed(3))
    sample, t, told, level = model.unet.seen
    noisy, small = sample[:, :4], sample[:, 4:]

    def kept(scheduler, t):
        return scheduler.alphas_cumprod[t].double().view(-1, 1, 1, 1)

    # What the network should say, from what it was given: v = sqrt(abar) eps - sqrt(1-abar) z.
    a = kept(model.scheduler, t)
    eps = (noisy.double() - a.sqrt() * codes) / (1 - a).sqrt()
    velocity = a.sqrt() * eps - (1 - a).sqrt() * codes
    assert loss.item() == pytest.approx(velocity.square().mean().item(), rel=1e-4)
    assert eps.std().item() == pytest.approx(1, abs=0.03)

    # The small image has the noise of its level.
    a = kept(model.low_res_scheduler, level)
    noise = (small.double() - a.sqrt() * (2 * lr - 1)) / (1 - a).sqrt()
    assert noise.mean().item() == pytest.approx(0, abs=0.03)
    assert noise.std().item() == pytest.approx(1, abs=0.03)
    assert level.min() >= 0
    assert level.max() <= 350
    assert t.min() < 50
    assert t.max() > 950

    # Some texts are left out.
    untold = model.text_encoder(model.tokens([""]))[0]
    share = (told - untold).abs().amax((1, 2)).lt(1e-6).double().mean().item()
    assert share == pytest.approx(0.15, abs=0.06)


def test_only_the_diffusion_learns(model):
    learning = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {"unet", "text_encoder"}


# the pipeline


def test_the_pipeline_keeps_the_autoencoders_factor(model):
    """It sets any other factor to 0.08333, with a warning: the famous trap."""
    assert model.vae.config.scaling_factor == parts.SCALING_FACTOR == 0.08333
    assert model.pipeline().vae.config.scaling_factor == 0.08333


def test_the_same_seed_gives_the_same_bits(upscaler, lr):
    once, again = (upscaler.upscale(lr, seed=5).image for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.equal(once, upscaler.upscale(lr, seed=6).image)


@pytest.mark.parametrize(
    "changed",
    [
        {"noise_level": 200},
        {"prompt": "a sandal"},
        {"prompt": "a sandal", "guidance_scale": 5.0},
        {"steps": 4},
        {"sampler": "dpm-solver", "steps": 4},
        {"sampler": "ddpm", "steps": 4},
        {"color_fix": "none"},
        {"color_fix": "adain"},
        {"color_fix": "wavelet"},
    ],
)
def test_each_option_acts(upscaler, lr, changed):
    usual = upscaler.upscale(lr, seed=0).image
    other = upscaler.upscale(lr, seed=0, **changed).image
    assert other.shape == usual.shape
    assert other.isfinite().all()
    assert (other - usual).abs().max() > 1e-4


def test_guidance_and_negative_prompts_act_beyond_the_prompt(upscaler, lr):
    def answer(**options):
        return upscaler.upscale(lr, seed=0, prompt="a sandal", **options).image

    guided = answer(guidance_scale=5.0)
    assert not torch.equal(guided, answer())
    assert not torch.equal(guided, answer(guidance_scale=5.0, negative_prompt="a coat"))
    # Without guidance there is nothing that a negative prompt could be taken from.
    assert torch.equal(answer(), answer(negative_prompt="a coat"))


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (13, 4)])
def test_any_size_is_enlarged_exactly_four_times(upscaler, size):
    image = torch.rand(2, 3, *size)
    result = upscaler.upscale(image, seed=0)
    assert result.image.shape == (2, 3, 4 * size[0], 4 * size[1])
    assert result.seed == 0


def test_tiles_are_blended(upscaler):
    lr = data.downscale(data.example("stones").repeat(1, 1, 2, 2)[..., :384, :384], 4)
    told = []
    result = upscaler.upscale(lr, seed=0, tile=64, progress=told.append)
    assert result.image.shape == (1, 3, 384, 384)
    assert [p.done for p in told] == list(range(1, told[0].total + 1))
    assert told[0].total == 4 * 2  # tiles and steps


def test_a_run_can_be_cancelled(upscaler, lr):
    def stop(progress):
        raise Cancelled

    with pytest.raises(Cancelled):
        upscaler.upscale(lr, progress=stop)
    assert upscaler.upscale(lr, seed=0).image.shape == (1, 3, 64, 64)  # and then used again


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": None, "noise_level": 351}, "from 0 to 350"),
        ({"noise_level": 2.5}, "whole number"),
        ({"guidance_scale": 0.5}, "from 1 to 50"),
        ({"guidance_scale": float("nan")}, "from 1 to 50"),
        ({"prompt": 3}, "must be a text"),
        ({"color_fix": "magic"}, "known: none, wavelet, adain, back-projection"),
        ({"temperature": 0.5}, "no temperature"),
        ({"steps": 0}, "from 1 to 1,000"),
        ({"sampler": "euler"}, "known: ddim, dpm-solver, ddpm"),
        ({"keep_states": True}, "in pixels"),
    ],
)
def test_impossible_options_are_explained(upscaler, lr, options, message):
    with pytest.raises(UpscalingError, match=message):
        upscaler.upscale(lr, **options)


def test_weights_go_out_and_come_back(model, upscaler, lr, tmp_path):
    about = {"summary": "tiny", "metrics": {}}
    weights.publish(weights.rounded(model), "tiny", about, tmp_path)
    expected = upscaler.upscale(lr, seed=1).image
    found = load(tmp_path)
    found.default_steps = 2
    assert torch.allclose(found.upscale(lr, seed=1).image, expected, atol=1e-4)

    path = tmp_path / "tiny" / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(weights.WeightsError, match="damaged"):
        load(tmp_path)
    path.unlink()
    with pytest.raises(weights.WeightsError, match="reinstall"):
        load(tmp_path)


def test_what_is_saved_is_a_pipeline_of_diffusers(model, upscaler, lr, tmp_path):
    from diffusers import StableDiffusionUpscalePipeline

    model.save_pretrained(tmp_path)
    # Without the dtype, the text encoder stays in half precision, and the parts do not fit.
    found = StableDiffusionUpscalePipeline.from_pretrained(
        tmp_path, local_files_only=True, torch_dtype=torch.float32
    )
    found.set_progress_bar_config(disable=True)
    again = LatentUpscaler(found, steps=2).upscale(lr, seed=1).image
    assert torch.allclose(again, upscaler.upscale(lr, seed=1).image, atol=2e-3)  # half precision
