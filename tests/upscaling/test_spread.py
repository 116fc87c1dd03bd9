"""The predicted size of residuals: its likelihood, its bounds, and its part in SRDiff."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from course_lib.models.blocks import to_network
from course_lib.upscaling.spread import LARGEST, SMALLEST, START, SpreadHead, spread_loss
from course_lib.upscaling.srdiff import Condition


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.equation("srdiff-spread")
def test_the_loss_is_the_likelihood_of_laplace():
    residual, spread = images(2, 3, 4, 5) - 0.5, 0.1 + images(2, 1, 4, 5, seed=1)
    density = torch.distributions.Laplace(0.0, spread.expand_as(residual))
    wanted = -density.log_prob(residual).mean() - torch.log(torch.tensor(2.0))
    assert_close(spread_loss(residual, spread), wanted)


@pytest.mark.equation("srdiff-spread")
@given(seed=st.integers(0, 1000), factor=st.floats(0.2, 5).filter(lambda f: abs(f - 1) > 0.01))
def test_the_mean_absolute_residual_is_best(seed, factor):
    residual = torch.randn(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    best = residual.abs().mean()
    assert spread_loss(residual, best) < spread_loss(residual, factor * best)


def test_the_head_starts_even_and_stays_within_its_bounds():
    head = SpreadHead(6, hidden=4, scale=3)
    features = torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(0))
    assert_close(head(features), torch.full((2, 1, 15, 21), START))
    for level, wanted in ((-50.0, SMALLEST), (50.0, LARGEST)):
        torch.nn.init.constant_(head.conv2.bias, level)
        assert_close(head(features), torch.full((2, 1, 15, 21), wanted))


def test_the_head_learns_what_is_missing_where():
    """Left the residual is 0.1 on average, right 0.01; the features tell the sides apart."""
    torch.manual_seed(0)
    head = SpreadHead(2, hidden=8, scale=2)
    features = torch.zeros(1, 2, 8, 16)
    features[:, 0, :, :8], features[:, 1, :, 8:] = 1, 1
    size = torch.where(torch.arange(32) < 16, 0.1, 0.01)
    optimizer = torch.optim.Adam(head.parameters(), 0.003)
    for step in range(500):
        sign_and_size = torch.randn(8, 3, 16, 32, generator=torch.Generator().manual_seed(step))
        residual = sign_and_size * size / sign_and_size.abs().mean()
        loss = spread_loss(residual, head(features))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = head(features)[0, 0].detach()
    assert found[4:12, 4:10].mean() == pytest.approx(0.1, rel=0.15)
    assert found[4:12, 22:28].mean() == pytest.approx(0.01, rel=0.15)


@pytest.mark.equation("srdiff-residual")
def test_residuals_are_divided_by_the_spread_and_multiplied_again(tiny_srdiff):
    model = tiny_srdiff(residual_scale=2.0, residual_limit=50.0)
    base, spread = images(1, 3, 4, 4), 0.1 + images(1, 1, 4, 4, seed=1)
    hr = images(1, 3, 4, 4, seed=2)
    x0 = model.to_residual(hr, base, spread)
    assert_close(x0, 2 * (hr - base) / spread)
    assert_close(model.from_residual(x0, base, spread), hr)
    clipped = tiny_srdiff(residual_scale=2.0, residual_limit=0.5)
    assert clipped.to_residual(hr, base, spread).abs().max() == 0.5


def test_the_loss_of_both_and_whom_it_teaches(tiny_embedded):
    """The denoiser's loss must not reach the head, nor the head's the denoiser."""
    model = tiny_embedded(spread_hidden=4).train()
    lr, hr = images(2, 3, 8, 8), images(2, 3, 32, 32, seed=1)
    torch.nn.init.normal_(
        model.spread_head.conv2.weight, generator=torch.Generator().manual_seed(0)
    )
    loss, logs = model.loss((lr, hr), generator=torch.Generator().manual_seed(3))
    assert_close(loss.detach(), logs["denoising"] + logs["spread"])
    condition = model.condition(lr)
    residual = to_network(hr) - condition.image
    assert_close(logs["spread"], spread_loss(residual, condition.spread).detach())

    generator = torch.Generator().manual_seed(3)
    t = torch.randint(model.config.timesteps, (2,), generator=generator)
    epsilon = torch.randn(hr.shape, generator=generator)
    x0 = model.to_residual(to_network(hr), condition.image, condition.spread.detach())
    alone = model.objective(x0, t, epsilon, condition)
    assert_close(logs["denoising"], alone.detach())
    head = list(model.spread_head.parameters())
    wanted = torch.autograd.grad(spread_loss(residual, condition.spread), head)
    for found, expected in zip(torch.autograd.grad(loss, head), wanted, strict=True):
        assert_close(found, expected)


def test_a_sample_is_as_far_from_the_base_as_the_spread_says(tiny_embedded):
    model = tiny_embedded(spread_hidden=4, sampler="ddim", steps=2)
    lr = 0.4 + 0.2 * images(1, 3, 8, 8)
    model.denoise = lambda x_t, t, condition: torch.ones_like(x_t)
    for level in (-1.0, -2.0):
        torch.nn.init.constant_(model.spread_head.conv2.bias, level)
        spread = START * torch.tensor(level).exp()
        base = (model.condition(lr).image + 1) / 2
        assert_close(model.sample(lr), base + spread / model.config.residual_scale / 2)


def test_without_a_head_the_spread_is_one(tiny_srdiff):
    model = tiny_srdiff()
    assert model.spread_head is None
    assert model.condition(images(1, 3, 8, 8)).spread == Condition.spread == 1
    assert model.loss((images(1, 3, 8, 8), images(1, 3, 32, 32)))[1] == {}
