"""The checks: they pass what is right and say what is wrong."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import course_lib
from course_lib import checks
from course_lib.checks import Wrong, agree
from course_lib.checks.randomness import demand_noise, repeats

EXERCISES = Path(__file__).parents[2] / "exercises"
ALL = [name for topic in checks.TOPICS for name in checks.names(topic)]


def test_every_assignment_has_checks_and_every_topic_an_assignment():
    assert set(checks.TOPICS) == {path.stem for path in EXERCISES.glob("[a-z]*.md")}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "answer",
    [
        lambda *args, **options: None,
        lambda *args, **options: "a word",
        lambda *args, **options: torch.tensor([float("nan")] * 7),
        lambda *args, **options: np.zeros(3),
        lambda: None,
        None,
    ],
    ids=["None", "text", "nan", "array", "no arguments", "no function"],
)
def test_nonsense_gets_a_verdict_and_never_passes(name, answer, capsys):
    verdict = course_lib.check(name, answer)
    assert not verdict
    assert len(verdict.message) > 10
    assert capsys.readouterr().out == f"✗ {name}: {verdict.message}\n"


@pytest.mark.parametrize("name", ALL)
def test_an_empty_stub_is_told_to_begin(name):
    def stub(*args, **options):
        raise NotImplementedError

    assert "nothing here yet" in course_lib.check(name, stub).message


def test_an_unknown_check_lists_the_known():
    with pytest.raises(ValueError, match=r"no check 'vae\.nothing'; known: vae\.draws, "):
        course_lib.check("vae.nothing", print)
    with pytest.raises(ValueError, match=r"no check 'nothing'; known: .*vae\.draws"):
        course_lib.check("nothing", print)


def test_an_error_is_reported_with_its_line():
    def broken(*args):
        return 1 / 0

    message = course_lib.check("vae.bound", broken).message
    assert message.startswith("your code raised ZeroDivisionError: division by zero (line ")
    assert "return 1 / 0" in message


@pytest.mark.parametrize(
    ("got", "message"),
    [
        (None, "it is None; is a return missing?"),
        ([1.0, 2.0], "it is of type list, but should be a tensor."),
        (torch.zeros(3), "it has shape (3,), but should have (2,)."),
        (torch.tensor([1.0, float("inf")]), "it is not finite"),
        (torch.tensor([1.0, 2.5]), "it is 2.5 at [1], but should be 2."),
        (torch.tensor([2.0, 4.0]), "twice as much"),
    ],
)
def test_agree_says_how_it_differs(got, message):
    with pytest.raises(Wrong) as caught:
        agree(
            got,
            torch.tensor([1.0, 2.0]),
            "it",
            mistakes={"twice as much": torch.tensor([2.0, 4.0])},
        )
    assert message in str(caught.value)


def test_agree_takes_numbers_and_ignores_mistakes_that_the_numbers_do_not_tell():
    agree(2, 2.0, "it", mistakes={"no mistake here": 2.0})
    agree(torch.tensor(2.0, requires_grad=True), 2.0, "it")
    agree(np.float32(2), 2.0, "it")
    with pytest.raises(Wrong, match="a number or a tensor without axes"):
        agree("two", 2.0, "it")


def test_repeats_finds_random_numbers_from_elsewhere():
    own = torch.Generator()
    state = torch.random.get_rng_state()
    assert repeats(lambda: torch.rand(3, generator=own.manual_seed(0)))
    assert not repeats(lambda: torch.rand(3, generator=own.manual_seed(0)) + torch.rand(3))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_loss_that_is_a_python_number_is_told_that_no_gradient_flows():
    def opponent(real, fake, smooth):
        loss = torch.nn.functional.softplus
        real = (1 - smooth) * loss(-real) + smooth * loss(real)
        return (real.mean() + loss(fake).mean()).item()

    message = course_lib.check("gan.opponent", opponent).message
    assert message == "no gradient flows through the loss; keep it a tensor."


@pytest.mark.parametrize(
    ("norm_first", "end", "message"),
    [
        (True, nn.Tanh(), "a rectifier stands before a batch norm"),
        (False, nn.Identity(), "there is no tanh at the end"),
        (False, nn.Sigmoid(), "a sigmoid gives numbers in [0, 1]"),
        (False, nn.Hardtanh(), "not the tanh of what the last transposed convolution makes"),
    ],
)
def test_a_generator_is_judged_by_what_it_does(norm_first, end, message):
    def generator(latent_dim, width, doublings, channels):
        layers, inside = [nn.Unflatten(1, (latent_dim, 1, 1))], latent_dim
        for k in range(doublings):
            outside = width * 2 ** (doublings - 1 - k)
            layers.append(nn.ConvTranspose2d(inside, outside, 4, *((1, 0) if k == 0 else (2, 1))))
            both = [nn.BatchNorm2d(outside), nn.ReLU()]
            layers += both[::-1] if norm_first else both
            inside = outside
        return nn.Sequential(*layers, nn.ConvTranspose2d(inside, channels, 4, 2, 1), end)

    assert message in course_lib.check("dcgan.generator", generator).message


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda g: torch.randn(9, 3, 10, 10), "the same generator gives other noise"),
        (lambda g: torch.randn(9, 3, 10, 10, generator=g.manual_seed(2)), "a second call gives"),
        (lambda g: torch.randn(9, 3, 10, 1, generator=g).expand(9, 3, 10, 10), "along axis 3"),
        (lambda g: torch.randn(9, 1, 10, 10, generator=g).expand(9, 3, 10, 10), "along axis 1"),
        (lambda g: torch.rand(9, 3, 10, 10, generator=g), "not normal"),
    ],
)
def test_noise_is_held_to_what_it_should_be(draw, message):
    demand_noise(lambda generator: 0.3 * torch.randn(9, 3, 10, 10, generator=generator))
    with pytest.raises(Wrong, match=message):
        demand_noise(draw)


def test_an_argument_that_is_changed_is_named():
    def noisy(images, alpha_bar, t, generator):
        images *= 0.5
        return images, images

    message = course_lib.check("ddpm.noisy", noisy).message
    assert message == "your function changes its argument number 1; work on a copy."


def test_what_the_check_cannot_use_is_no_error_of_the_students_code():
    message = course_lib.check("gan.opponent", lambda *args: torch.ones(3)).message
    assert "your code raised" not in message
    message = course_lib.check("guidance.dropped", lambda *args: torch.ones(4000, 6) > 0).message
    assert "your code raised" not in message
