"""The loop against Adam written out in numpy, and resumption bit for bit."""

import itertools
import json
import math
import signal
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from course_lib.models import VAE, VAEConfig
from course_lib.training import Interrupted, TrainConfig, fit
from course_lib.training.checkpoint import LOG, STATE
from course_lib.training.loop import learning_rate
from course_lib.training.order import batch_indices, step_generator


def config(**options) -> TrainConfig:
    return TrainConfig(**({"steps": 12, "batch_size": 4, "log_every": 1} | options))


class Centre(nn.Module):
    """Finds the mean of its data; notes what it is given. Its gradient is 2 (w - mean x)."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([3.0, -2.0, 0.5], dtype=torch.float64))
        self.batches: list[torch.Tensor] = []
        self.noise: list[float] = []

    def loss(self, batch, *, generator):
        self.batches.append(batch)
        self.noise.append(torch.rand(1, generator=generator).item())
        squared = (batch - self.w).square().sum(1).mean()
        return squared, {"twice": 2 * squared.detach()}


def points() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(10, 3)))


def reference(settings: TrainConfig) -> tuple[np.ndarray, np.ndarray, list[float], int]:
    """Adam or RMSprop, clipping, schedule and moving average from their papers, in numpy."""
    x, w = points().numpy(), np.array([3.0, -2.0, 0.5])
    first, second = settings.betas
    m = v = v_hat = np.zeros(3)
    average, losses, clipped = None, [], 0
    for step in range(settings.steps):
        batch = x[batch_indices(step, size=10, batch_size=settings.batch_size, seed=settings.seed)]
        losses.append(((batch - w) ** 2).sum(1).mean())
        gradient = 2 * (w - batch.mean(0))
        norm = np.sqrt((gradient**2).sum())
        if settings.clip and norm > settings.clip:
            gradient, clipped = gradient * settings.clip / norm, clipped + 1
        if settings.optimizer == "adam":
            m = first * m + (1 - first) * gradient
            v = second * v + (1 - second) * gradient**2
            m_hat, v_hat = m / (1 - first ** (step + 1)), v / (1 - second ** (step + 1))
        else:
            m_hat, v_hat = gradient, 0.99 * v_hat + 0.01 * gradient**2
        rate = settings.learning_rate
        if settings.warmup:
            rate *= min(1, (step + 1) / settings.warmup)
        if settings.schedule == "cosine":
            rate *= (1 + math.cos(math.pi * step / settings.steps)) / 2
        w = w - rate * m_hat / (np.sqrt(v_hat) + 1e-8)
        decay = 0 if average is None else min(settings.ema, (1 + step) / (10 + step))
        average = w if average is None else decay * average + (1 - decay) * w
    return w, average, losses, clipped


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_the_model_comes_back_to_the_device_it_came_from(monkeypatch, ema):
    """Chapters go on with CPU images, wherever accelerate has trained."""
    moves = []
    monkeypatch.setattr(
        Centre, "to", lambda self, *to, **how: (moves.append(to), nn.Module.to(self, *to, **how))[1]
    )
    fit(Centre(), points(), config(ema=ema), quiet=True)
    assert moves[-1] == (torch.device("cpu"),)


@pytest.mark.parametrize("clip", [0.0, 0.5, 3.0])
@pytest.mark.parametrize(("schedule", "warmup"), [("constant", 0), ("cosine", 0), ("cosine", 5)])
def test_training_against_adam_in_numpy(clip, schedule, warmup):
    settings = config(
        learning_rate=0.2, clip=clip, schedule=schedule, warmup=warmup, ema=0.3, seed=3
    )
    model, lines = Centre(), []
    averaged = fit(model, points(), settings, quiet=True, on_log=lines.append)
    w, average, losses, clipped = reference(settings)
    assert np.allclose(model.w.detach().numpy(), w, rtol=1e-5)
    assert np.allclose(averaged.w.detach().numpy(), average, rtol=1e-5)
    assert not np.allclose(w, average, rtol=1e-3)
    assert [line["loss"] for line in lines] == pytest.approx(losses, rel=1e-5)
    if clip == 0.5:
        assert clipped > 5


@pytest.mark.parametrize(
    "options",
    [{"betas": (0.5, 0.9)}, {"betas": (0.0, 0.99)}, {"optimizer": "rmsprop"}],
    ids=["adam-0.5", "adam-0", "rmsprop"],
)
def test_the_chosen_optimizer_against_numpy(options):
    """Each goes another way than Adam with its usual settings."""
    settings = config(learning_rate=0.2, clip=0.0, ema=0.3, **options)
    model, lines = Centre(), []
    averaged = fit(model, points(), settings, quiet=True, on_log=lines.append)
    w, average, losses, _ = reference(settings)
    assert np.allclose(model.w.detach().numpy(), w, rtol=1e-9)
    assert np.allclose(averaged.w.detach().numpy(), average, rtol=1e-6)
    assert [line["loss"] for line in lines] == pytest.approx(losses, rel=1e-6)
    usual, *_ = reference(config(learning_rate=0.2, clip=0.0, ema=0.3))
    assert not np.allclose(w, usual, rtol=1e-2)


class Line(nn.Module):
    """A product of a matrix and a vector, which autocast computes in bfloat16."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1, bias=False)
        self.seen: set[torch.dtype] = set()

    def loss(self, batch, *, generator):
        y = self.layer(batch.float())
        self.seen.add(y.dtype)
        return (y.float() - 1).square().mean(), {}


def test_bfloat16_computes_coarsely_and_keeps_the_weights_in_float32():
    fine, coarse = Line(), Line()
    fit(fine, points(), config(learning_rate=0.1), quiet=True)
    fit(coarse, points(), config(learning_rate=0.1, precision="bfloat16"), quiet=True)
    assert (fine.seen, coarse.seen) == ({torch.float32}, {torch.bfloat16})
    assert coarse.layer.weight.dtype == torch.float32
    difference = (fine.layer.weight - coarse.layer.weight).abs().max()
    assert 0 < difference < 0.02


def test_adam_with_its_usual_betas_is_the_default():
    settings = config()
    assert (settings.optimizer, settings.betas) == ("adam", (0.9, 0.999))
    assert settings.critic_steps == 1


def test_average_starts_fast_and_reaches_its_decay():
    """With 300 steps the decay of 0.9 is reached (after 80), by the same hand computation."""
    settings = config(steps=300, learning_rate=0.01, ema=0.9)
    averaged = fit(Centre(), points(), settings, quiet=True)
    _, average, _, _ = reference(settings)
    assert np.allclose(averaged.w.detach().numpy(), average, rtol=1e-5)


def test_without_average_the_model_itself_is_returned():
    model = Centre()
    assert fit(model, points(), config(ema=0.0), quiet=True) is model
    assert not model.training


def test_average_is_another_module_in_evaluation_mode():
    model = Centre()
    averaged = fit(model, points(), config(), quiet=True)
    assert averaged is not model
    assert not averaged.training
    assert isinstance(averaged, Centre)


def test_a_vae_learns(test_images):
    """Fifty steps take more off the loss of other images than noise could."""
    torch.manual_seed(0)
    model, lines = VAE(VAEConfig(latent_dim=2, channels=(4, 8, 8))), []

    def held_out(model):
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            return model.loss(test_images[1000:1200], generator=generator)[0].item()

    before = held_out(model)
    settings = config(steps=50, batch_size=32, learning_rate=2e-2, ema=0.9)
    averaged = fit(model, test_images[:256], settings, quiet=True, on_log=lines.append)
    assert held_out(model) < 0.8 * before
    assert held_out(averaged) < 0.8 * before
    assert set(lines[0]) == {"step", "loss", "log_likelihood", "kl", "learning_rate"}


# The order of examples and the noise


def test_every_step_has_its_own_examples_and_noise():
    model = Centre()
    fit(model, points(), config(seed=5), quiet=True)
    assert len(set(model.noise)) == 12
    for step, (batch, noise) in enumerate(zip(model.batches, model.noise, strict=True)):
        indices = batch_indices(step, size=10, batch_size=4, seed=5)
        assert torch.equal(batch, points()[indices])
        assert noise == torch.rand(1, generator=step_generator(step, seed=5)).item()


def test_training_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    fit(Centre(), points(), config(), quiet=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_data_may_be_more_than_a_tensor():
    """Whatever takes a tensor of indices; nested batches reach the model as they are."""

    class Pairs:
        def __len__(self):
            return 10

        def __getitem__(self, indices):
            return {"x": points()[indices], "labels": (indices,)}

    class Model(Centre):
        def loss(self, batch, *, generator):
            assert torch.equal(batch["x"], points()[batch["labels"][0]])
            return super().loss(batch["x"], generator=generator)

    plain, nested = Centre(), Model()
    fit(plain, points(), config(), quiet=True)
    fit(nested, Pairs(), config(), quiet=True)
    assert torch.equal(plain.w, nested.w)


# Learning rates


def test_cosine_schedule_against_torch():
    settings = config(steps=40, learning_rate=0.3)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40)
    for step in range(40):
        assert learning_rate(settings, step) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_cosine_schedule_goes_from_full_to_zero():
    settings = config(steps=100, learning_rate=0.3)
    rates = [learning_rate(settings, step) for step in range(101)]
    assert rates[0] == 0.3
    assert rates[50] == pytest.approx(0.15)
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert rates[99] < 0.0003 * 0.3
    assert all(after < before for before, after in itertools.pairwise(rates))


def test_warmup_grows_linearly_and_then_leaves_the_schedule_alone():
    warm = config(steps=100, learning_rate=0.4, warmup=10, schedule="constant")
    rates = [learning_rate(warm, step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.04 * k for k in range(1, 11)])
    assert set(rates[10:]) == {0.4}
    cosine = config(steps=100, learning_rate=0.4)
    both = config(steps=100, learning_rate=0.4, warmup=10)
    for step in range(100):
        expected = learning_rate(cosine, step) * min(1, (step + 1) / 10)
        assert learning_rate(both, step) == pytest.approx(expected)


def test_the_optimizer_gets_the_scheduled_rate():
    lines = []
    settings = config(learning_rate=0.2, warmup=3)
    fit(Centre(), points(), settings, quiet=True, on_log=lines.append)
    assert [line["learning_rate"] for line in lines] == [
        learning_rate(settings, step) for step in range(12)
    ]


# Resuming


def tiny_run(folder, test_images, *, steps=30, on_log=None, **options):
    """Train a small VAE, from the same start every time."""
    torch.manual_seed(11)
    model = VAE(VAEConfig(latent_dim=2, channels=(2, 3, 4)))
    return fit(
        model,
        test_images[:50],
        config(steps=steps, batch_size=8, learning_rate=1e-2, ema=0.9, warmup=4, **options),
        folder=folder,
        identity={"recipe": "tiny"},
        quiet=True,
        on_log=on_log,
    )


def interrupt_at(*steps):
    """An ``on_log`` that presses Ctrl-C after the given steps."""

    def press(line):
        if line["step"] in steps:
            signal.raise_signal(signal.SIGINT)

    return press


def saved(folder) -> dict:
    return torch.load(folder / STATE, weights_only=True)


def log_lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def assert_same_bits(first, second, where=""):
    """Compare nested states, tensor by tensor, exactly."""
    assert type(first) is type(second), where
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_same_bits(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for index, pair in enumerate(zip(first, second, strict=True)):
            assert_same_bits(*pair, f"{where}/{index}")
    else:
        assert first == second, where


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, test_images):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, tiny_run(folder, test_images)


def assert_same_run(folder, model, uninterrupted):
    expected_folder, expected_model = uninterrupted
    ours, theirs = saved(folder), saved(expected_folder)
    for part in ("model", "optimizers", "average", "step", "settings"):
        assert_same_bits(ours[part], theirs[part], part)
    assert len(ours["optimizers"]["model"]["state"]) > 0
    assert_same_bits(model.state_dict(), expected_model.state_dict())


def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, test_images, uninterrupted):
    for stop in (13, 14, 26):
        with pytest.raises(Interrupted) as caught:
            tiny_run(tmp_path, test_images, on_log=interrupt_at(stop))
        assert (caught.value.step, caught.value.steps) == (stop, 30)
        assert caught.value.folder == tmp_path
        assert str(caught.value) == f"stopped after step {stop} of 30; saved in {tmp_path}"
        assert saved(tmp_path)["step"] == stop
    model = tiny_run(tmp_path, test_images)
    assert_same_run(tmp_path, model, uninterrupted)
    assert log_lines(tmp_path) == log_lines(uninterrupted[0])


def test_a_crashed_run_goes_on_from_its_last_state(tmp_path, test_images, uninterrupted):
    """The steps after the state are done again, and their lines in the log are not doubled."""

    class Crash(Exception):
        pass

    def crash(line):
        if line["step"] == 20:
            raise Crash

    with pytest.raises(Interrupted):
        tiny_run(tmp_path, test_images, on_log=interrupt_at(13))
    with pytest.raises(Crash):
        tiny_run(tmp_path, test_images, on_log=crash)
    assert [line["step"] for line in log_lines(tmp_path)] == list(range(1, 21))
    assert saved(tmp_path)["step"] == 13
    model = tiny_run(tmp_path, test_images)
    assert_same_run(tmp_path, model, uninterrupted)
    assert log_lines(tmp_path) == log_lines(uninterrupted[0])


def test_log_of_a_resumed_run_has_the_same_steps(tmp_path, test_images, monkeypatch):
    """Also where the run stops between two logged steps."""
    original, calls = VAE.loss, []

    def loss(self, batch, *, generator):
        calls.append(batch)
        if len(calls) == 13:
            signal.raise_signal(signal.SIGINT)
        return original(self, batch, generator=generator)

    monkeypatch.setattr(VAE, "loss", loss)
    with pytest.raises(Interrupted, match="after step 13"):
        tiny_run(tmp_path, test_images, log_every=5)
    tiny_run(tmp_path, test_images, log_every=5)
    assert len(calls) == 30
    assert [line["step"] for line in log_lines(tmp_path)] == [5, 10, 15, 20, 25, 30]


def test_a_finished_run_is_not_trained_again(tmp_path, test_images, monkeypatch):
    first = tiny_run(tmp_path, test_images, steps=3)
    monkeypatch.setattr(VAE, "loss", None)
    again = tiny_run(tmp_path, test_images, steps=3)
    assert_same_bits(again.state_dict(), first.state_dict())


def test_state_is_saved_every_so_many_seconds(tmp_path):
    """``save_seconds=0`` saves after every step; a long interval does not."""
    found = []

    def look(line):
        found.append(saved(tmp_path)["step"] if (tmp_path / STATE).exists() else 0)
        time.sleep(0.002)

    fit(Centre(), points(), config(save_seconds=0), folder=tmp_path, quiet=True, on_log=look)
    assert found == list(range(12))

    found.clear()
    other = tmp_path / "other"
    fit(
        Centre(),
        points(),
        config(save_seconds=100),
        folder=other,
        quiet=True,
        on_log=lambda line: found.append((other / STATE).exists()),
    )
    assert not any(found)
    assert saved(other)["step"] == 12


def test_other_settings_are_refused_and_named(tmp_path):
    def run(identity=None, **options):
        fit(
            Centre(),
            points(),
            config(**options),
            folder=tmp_path,
            identity=identity or {"recipe": "a"},
            quiet=True,
        )

    run()
    before = (tmp_path / STATE).read_bytes()
    for options, named in (
        ({"learning_rate": 0.5}, "learning_rate was 0.001, now 0.5"),
        ({"steps": 20}, "steps was 12, now 20"),
        ({"seed": 1}, "seed was 0, now 1"),
        ({"batch_size": 5}, "batch_size was 4, now 5"),
        ({"clip": 0.0}, "clip was 1.0, now 0.0"),
        ({"ema": 0.5}, "ema was 0.999, now 0.5"),
        ({"optimizer": "rmsprop"}, "optimizer was 'adam', now 'rmsprop'"),
        ({"betas": (0.5, 0.999)}, "betas was [0.9, 0.999], now [0.5, 0.999]"),
        ({"critic_steps": 2}, "critic_steps was 1, now 2"),
        ({"identity": {"recipe": "b"}}, "recipe was 'a', now 'b'"),
    ):
        with pytest.raises(ValueError, match="other settings") as caught:
            run(**options)
        assert f"({named})" in str(caught.value)
    assert (tmp_path / STATE).read_bytes() == before
    run(log_every=7, save_seconds=3.0)  # these do not change the result


def test_interruption_without_a_folder_says_that_nothing_was_saved():
    with pytest.raises(Interrupted, match="after step 4 of 12; not saved, for no folder"):
        fit(Centre(), points(), config(), quiet=True, on_log=interrupt_at(4))


def test_signal_handlers_are_given_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    fit(Centre(), points(), config(), quiet=True)
    with pytest.raises(Interrupted):
        fit(Centre(), points(), config(), quiet=True, on_log=interrupt_at(4))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_training_works_outside_the_main_thread():
    """As in a Streamlit app, where no signal can be caught."""
    results = []
    thread = threading.Thread(
        target=lambda: results.append(fit(Centre(), points(), config(), quiet=True))
    )
    thread.start()
    thread.join(30)
    expected = fit(Centre(), points(), config(), quiet=True)
    assert torch.equal(results[0].w, expected.w)


def test_progress_bar_is_shown_unless_quiet(capsys):
    fit(Centre(), points(), config())
    assert "12/12" in capsys.readouterr().out
    fit(Centre(), points(), config(), quiet=True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "linear"}, "unknown schedule 'linear'; known: constant, cosine"),
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'; known: adam, rmsprop"),
        ({"precision": "half"}, "unknown precision 'half'; known: float32, bfloat16"),
        ({"critic_steps": 0}, "critic_steps must be at least 1, not 0"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"log_every": 0}, "log_every must be at least 1, not 0"),
        ({"ema": 1.0}, r"ema must be in \[0, 1\), not 1.0"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        config(**options)


def test_too_large_a_batch_is_refused():
    with pytest.raises(ValueError, match="batch_size 11 is larger than the 10 examples"):
        fit(Centre(), points(), config(batch_size=11), quiet=True)
