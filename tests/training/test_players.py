"""Games: who moves when and on what, against loops written out by hand in numpy.

The judge is a duel of one-dimensional linear networks, G(z) = a z + b and D(x) = w x + c,
whose gradients are short enough to be written down.
"""

import itertools
import json
import math
import signal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from course_lib.models import DCGAN, GAN, WGAN, DCGANConfig, GANConfig, WGANConfig
from course_lib.training import Interrupted, TrainConfig, fit
from course_lib.training.checkpoint import LOG, STATE
from course_lib.training.order import batch_indices, step_generator
from course_lib.training.players import Player, moves, seats, to_move


def config(**options) -> TrainConfig:
    return TrainConfig(**({"steps": 8, "batch_size": 4, "log_every": 1} | options))


def numbers(n: int = 10) -> torch.Tensor:
    """Data of one dimension, (n, 1)."""
    return torch.from_numpy(np.random.default_rng(0).normal(2.0, 0.7, size=(n, 1)))


def batch_of(number: int, settings: TrainConfig) -> torch.Tensor:
    indices = batch_indices(number, size=10, batch_size=settings.batch_size, seed=settings.seed)
    return numbers()[indices]


# The order of moves


def some_players(*names: str | None) -> list[Player]:
    return [Player(name, [], None) for name in names]


def order(names: tuple, steps: int, repeats: int) -> list[tuple]:
    """(name, batch, move) of every move of the first steps."""
    players = some_players(*names)
    return [
        (player.name, batch, move)
        for step in range(steps)
        for player, batch, move in moves(players, step, repeats=repeats)
    ]


def test_two_players_alternate_on_the_same_batch():
    assert order(("d", "g"), 3, 1) == [
        ("d", 0, 0),
        ("g", 0, 1),
        ("d", 1, 2),
        ("g", 1, 3),
        ("d", 2, 4),
        ("g", 2, 5),
    ]


def test_the_first_player_moves_several_times_each_on_a_batch_of_its_own():
    assert order(("f", "g"), 2, 3) == [
        ("f", 0, 0),
        ("f", 1, 1),
        ("f", 2, 2),
        ("g", 2, 3),
        ("f", 3, 4),
        ("f", 4, 5),
        ("f", 5, 6),
        ("g", 5, 7),
    ]


def test_three_players_take_turns():
    assert order(("f", "g", "h"), 2, 2) == [
        ("f", 0, 0),
        ("f", 1, 1),
        ("g", 1, 2),
        ("h", 1, 3),
        ("f", 2, 4),
        ("f", 3, 5),
        ("g", 3, 6),
        ("h", 3, 7),
    ]


@pytest.mark.parametrize("repeats", [1, 5])
def test_who_plays_alone_moves_once_a_step(repeats):
    """With the numbers of the steps, whatever ``critic_steps`` is."""
    assert order((None,), 4, repeats) == [(None, step, step) for step in range(4)]


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 12))
def test_no_number_is_left_out_or_used_twice(players, repeats, steps):
    names = tuple("abcd"[:players])
    made = order(names, steps, repeats)
    assert [move for _, _, move in made] == list(range(len(made)))
    of_first = [batch for name, batch, _ in made if name == "a"]
    assert of_first == list(range(len(of_first)))
    for before, (name, batch, _) in itertools.pairwise(made):
        assert name == "a" or batch == before[1]


# Seats


def tiny_gan(**options) -> GAN:
    shape = {"data_shape": (1,), "bounded": False, "latent_dim": 2, "hidden": (3,)}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return GAN(GANConfig(**(shape | options))).double()


def ids(parameters) -> list[int]:
    return [id(parameter) for parameter in parameters]


def test_each_player_has_its_weights_and_an_optimizer_of_them():
    model = tiny_gan()
    first, second = seats(model, "adam", learning_rate=0.3, betas=(0.5, 0.9))
    assert (first.name, second.name) == (first.key, second.key) == ("discriminator", "generator")
    for player in (first, second):
        expected = ids(getattr(model, player.name).parameters())
        assert ids(player.parameters) == expected
        (group,) = player.optimizer.param_groups
        assert ids(group["params"]) == expected
        assert isinstance(player.optimizer, torch.optim.Adam)
        assert (group["lr"], group["betas"]) == (0.3, (0.5, 0.9))


def test_a_model_without_players_sits_alone():
    model = nn.Linear(2, 3)
    (player,) = seats(model, "rmsprop", learning_rate=0.3, betas=(0.5, 0.9))
    assert player.name is None
    assert player.key == "model"
    assert ids(player.parameters) == ids(model.parameters())
    assert isinstance(player.optimizer, torch.optim.RMSprop)
    assert player.optimizer.param_groups[0]["lr"] == 0.3


def test_frozen_weights_have_no_seat():
    model = tiny_gan()
    model.generator[0].bias.requires_grad_(False)
    _, player = seats(model, "adam", learning_rate=0.1, betas=(0.9, 0.999))
    assert id(model.generator[0].bias) not in ids(player.parameters)
    assert len(player.parameters) == len(list(model.generator.parameters())) - 1


def flags(model: nn.Module) -> dict[str, bool]:
    return {name: parameter.requires_grad for name, parameter in model.named_parameters()}


def test_gradients_may_reach_the_mover_alone():
    model = tiny_gan()
    model.generator[0].bias.requires_grad_(False)
    before = flags(model)
    players = seats(model, "adam", learning_rate=0.1, betas=(0.9, 0.999))
    for player in players:
        to_move(players, player)
        for name, flag in flags(model).items():
            assert flag == (name.startswith(player.name) and name != "generator.0.bias")
    to_move(players)
    assert flags(model) == before


# A game that notes what happens


class Duel(nn.Module):
    """Two numbers that pull on each other, and a third that is frozen."""

    players: tuple[str, ...] = ("critic", "generator")

    def __init__(self):
        super().__init__()
        for index, name in enumerate(self.players):
            part = nn.Linear(1, 1, dtype=torch.float64)
            with torch.no_grad():
                part.weight.fill_(1.0 + index)
                part.bias.fill_(0.5)
            self.add_module(name, part)
        self.critic.bias.requires_grad_(False)
        self.story: list[dict] = []
        self.after: list[tuple[str, dict]] = []

    def weights(self) -> dict[str, torch.Tensor]:
        return {key: value.clone() for key, value in self.state_dict().items()}

    def loss(self, batch, *, player, generator):
        noise = torch.rand(1, generator=generator).item()
        self.story.append(
            {
                "player": player,
                "batch": batch,
                "noise": noise,
                "flags": flags(self),
                "weights": self.weights(),
                "training": self.training,
            }
        )
        value = sum(getattr(self, name)(batch).square().mean() for name in self.players)
        value = value + 0.1 * noise * sum(p.sum() for p in self.parameters())
        return value, {f"{player}_noise": torch.tensor(noise)}

    def after_move(self, player):
        grads = {name: p.grad is not None for name, p in self.named_parameters()}
        self.after.append((player, self.weights(), grads))


def played(model: nn.Module, **options) -> nn.Module:
    fit(model, numbers(), config(**options), quiet=True)
    return model


class Trio(Duel):
    players = ("critic", "generator", "referee")


@pytest.mark.parametrize("kind", [Duel, Trio])
@pytest.mark.parametrize("critic_steps", [1, 3])
def test_moves_batches_and_noise_are_as_documented(kind, critic_steps):
    """Counted here by hand: the first player's batches go on, every move has its own noise."""
    settings = config(critic_steps=critic_steps, seed=5)
    model = played(kind(), critic_steps=critic_steps, seed=5)
    story = iter(model.story)
    batch = move = -1
    for _ in range(settings.steps):
        for name in ["critic"] * critic_steps + list(kind.players[1:]):
            scene = next(story)
            batch, move = batch + (name == "critic"), move + 1
            assert scene["player"] == name
            assert scene["training"]
            assert torch.equal(scene["batch"], batch_of(batch, settings))
            expected = torch.rand(1, generator=step_generator(move, seed=5)).item()
            assert scene["noise"] == expected
    assert next(story, None) is None
    assert len({scene["noise"] for scene in model.story}) == len(model.story)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_only_the_mover_moves(optimizer):
    """And only it may receive gradients, and only it does."""
    model = played(Trio(), optimizer=optimizer, critic_steps=2, learning_rate=0.1)
    assert len(model.story) == len(model.after) == 8 * 4
    for scene, (name, after, grads) in zip(model.story, model.after, strict=True):
        assert name == scene["player"]
        for key, before in scene["weights"].items():
            mine = key.startswith(name) and key != "critic.bias"
            assert scene["flags"][key] == mine
            assert torch.equal(after[key], before) != mine
            assert grads[key] or not mine


def test_nothing_moves_between_the_moves():
    model = played(Duel(), critic_steps=2)
    for (_, after, _), scene in zip(model.after[:-1], model.story[1:], strict=True):
        for key, value in after.items():
            assert torch.equal(value, scene["weights"][key])


def test_frozen_weights_stay_frozen_and_the_others_are_free_again():
    model = Duel()
    before, start = flags(model), model.weights()
    averaged = fit(model, numbers(), config(), quiet=True)
    assert flags(model) == flags(averaged) == before
    assert not before["critic.bias"]
    assert torch.equal(model.critic.bias, start["critic.bias"])
    assert not torch.equal(model.critic.weight, start["critic.weight"])


def press_at(step: int):
    """An ``on_log`` that presses Ctrl-C."""

    def press(line):
        if line["step"] == step:
            signal.raise_signal(signal.SIGINT)

    return press


def test_an_interrupted_game_leaves_its_weights_free():
    model = Duel()
    before = flags(model)
    with pytest.raises(Interrupted):
        fit(model, numbers(), config(), quiet=True, on_log=press_at(3))
    assert flags(model) == before


@pytest.mark.parametrize("player", ["critic", "generator"])
def test_a_game_broken_off_by_an_error_leaves_its_weights_free(player, monkeypatch):
    """So that in a notebook the next call trains both players."""
    model = Duel()
    before = flags(model)
    original = Duel.loss

    def broken(self, batch, *, player, generator):
        if player == broken.at:
            raise KeyboardInterrupt
        return original(self, batch, player=player, generator=generator)

    broken.at = player
    monkeypatch.setattr(Duel, "loss", broken)
    with pytest.raises(KeyboardInterrupt):
        fit(model, numbers(), config(), quiet=True)
    assert flags(model) == before


# Against numpy: models of the course, whose networks are linear and one-dimensional


class Adam:
    """Kingma and Ba (2015), algorithm 1."""

    def __init__(self, settings: TrainConfig):
        self.betas, self.m, self.v, self.t = settings.betas, 0.0, 0.0, 0

    def step(self, gradient: np.ndarray, rate: float) -> np.ndarray:
        first, second = self.betas
        self.t += 1
        self.m = first * self.m + (1 - first) * gradient
        self.v = second * self.v + (1 - second) * gradient**2
        m_hat, v_hat = self.m / (1 - first**self.t), self.v / (1 - second**self.t)
        return -rate * m_hat / (np.sqrt(v_hat) + 1e-8)


class RMSprop:
    """Hinton's lecture 6e, with PyTorch's decay of 0.99."""

    def __init__(self, settings: TrainConfig):
        self.v = 0.0

    def step(self, gradient: np.ndarray, rate: float) -> np.ndarray:
        self.v = 0.99 * self.v + 0.01 * gradient**2
        return -rate * gradient / (np.sqrt(self.v) + 1e-8)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


class GANByHand:
    """Losses and gradients for D = (w, c) and G = (a, b)."""

    def __init__(self, kind: str):
        self.kind = kind

    def first(self, own, other, x, noise):
        (w, c), (a, b) = own, other
        g = a * noise() + b
        of_real, of_fake = sigmoid(w * x + c), sigmoid(w * g + c)
        loss = softplus(-(w * x + c)).mean() + softplus(w * g + c).mean()
        gradient = [
            (of_fake * g).mean() - ((1 - of_real) * x).mean(),
            of_fake.mean() - (1 - of_real).mean(),
        ]
        accuracy = ((of_real > 0.5).mean() + (of_fake < 0.5).mean()) / 2
        return loss, np.array(gradient), {"accuracy": accuracy}

    def second(self, own, other, noise):
        (a, b), (w, c) = own, other
        z = noise()
        logit = w * (a * z + b) + c
        if self.kind == "saturating":
            loss, slope = -softplus(logit).mean(), -sigmoid(logit)
        else:
            loss, slope = softplus(-logit).mean(), -(1 - sigmoid(logit))
        return loss, np.array([(slope * w * z).mean(), (slope * w).mean()])

    def after(self, weights):
        return weights


class WGANByHand:
    """Losses and gradients for f = (w, c) and G = (a, b); the slope of f is w everywhere."""

    def __init__(self, settings: WGANConfig):
        self.settings = settings

    def first(self, own, other, x, noise):
        (w, _), (a, b) = own, other
        distance = w * (x.mean() - (a * noise() + b).mean())
        gradient = np.array([(a * noise.last + b).mean() - x.mean(), 0.0])
        if self.settings.constraint == "clip":
            return -distance, gradient, {"distance": distance}
        penalty = (abs(w) - 1) ** 2
        gradient[0] += self.settings.penalty * 2 * (abs(w) - 1) * np.sign(w)
        logs = {"distance": distance, "penalty": penalty}
        return self.settings.penalty * penalty - distance, gradient, logs

    def second(self, own, other, noise):
        (a, b), (w, c) = own, other
        z = noise()
        return -(w * (a * z + b) + c).mean(), np.array([-w * z.mean(), -w])

    def after(self, weights):
        if self.settings.constraint == "clip":
            return np.clip(weights, -self.settings.clip, self.settings.clip)
        return weights


class Noise:
    """The latents of one move, (batch,)."""

    def __init__(self, move: int, settings: TrainConfig):
        self.generator = step_generator(move, seed=settings.seed)
        self.size = settings.batch_size

    def __call__(self) -> np.ndarray:
        z = torch.randn(self.size, 1, generator=self.generator, dtype=torch.float64)
        self.last = z.numpy()[:, 0]
        return self.last


def by_hand(game, first, second, settings: TrainConfig) -> dict:
    """An alternating loop in numpy: clipping, schedule and averages too."""
    kind = {"adam": Adam, "rmsprop": RMSprop}[settings.optimizer]
    of_first, of_second = kind(settings), kind(settings)
    averages, lines, clipped = None, [], 0
    batch = move = 0

    def bounded(gradient):
        nonlocal clipped
        norm = np.sqrt((gradient**2).sum())
        if settings.clip and norm > settings.clip:
            clipped += 1
            return gradient * settings.clip / norm
        return gradient

    for step in range(settings.steps):
        rate = settings.learning_rate
        if settings.schedule == "cosine":
            rate *= (1 + math.cos(math.pi * step / settings.steps)) / 2
        for _ in range(settings.critic_steps):
            x = batch_of(batch, settings).numpy()[:, 0]
            loss, gradient, logs = game.first(first, second, x, Noise(move, settings))
            first = game.after(first + of_first.step(bounded(gradient), rate))
            batch, move = batch + 1, move + 1
        generator_loss, gradient = game.second(second, first, Noise(move, settings))
        second = second + of_second.step(bounded(gradient), rate)
        move += 1
        lines.append({"loss": loss, "generator_loss": generator_loss, **logs})
        now = np.concatenate([first, second])
        decay = min(settings.ema, (1 + step) / (10 + step))
        averages = now if averages is None else decay * averages + (1 - decay) * now
    return {"first": first, "second": second, "averages": averages, "lines": lines, "cut": clipped}


LINEAR = {"data_shape": (1,), "bounded": False, "latent_dim": 1, "hidden": ()}


def linear_game(kind: type, settings) -> nn.Module:
    model = kind(settings).double()
    with torch.no_grad():
        for layer, (weight, bias) in zip(
            [m for m in model.modules() if isinstance(m, nn.Linear)],
            [(0.8, -0.3), (0.6, 0.2)],  # the generator's, which is built first, and the other's
            strict=True,
        ):
            layer.weight.fill_(weight)
            layer.bias.fill_(bias)
    return model


def flat(model: nn.Module, part: str) -> np.ndarray:
    values = [p.detach().flatten() for p in getattr(model, part).parameters()]
    return torch.cat(values).numpy().copy()


def check_against_numpy(model, game, settings: TrainConfig) -> dict:
    """Final weights, their average and every logged number."""
    first, second = model.players
    expected = by_hand(game, flat(model, first), flat(model, second), settings)
    start, lines = flat(model, second), []
    averaged = fit(model, numbers(), settings, quiet=True, on_log=lines.append)
    exact = 1e-5 if settings.clip else 1e-9  # PyTorch adds a millionth to the norm it clips
    assert np.allclose(flat(model, first), expected["first"], rtol=exact)
    assert np.allclose(flat(model, second), expected["second"], rtol=exact)
    ours = np.concatenate([flat(averaged, first), flat(averaged, second)])
    assert np.allclose(ours, expected["averages"], rtol=1e-5)
    assert not np.allclose(start, expected["second"], rtol=0.02)
    for ours, theirs in zip(lines, expected["lines"], strict=True):
        assert {k: v for k, v in ours.items() if k in theirs} == pytest.approx(theirs, rel=1e-5)
        assert set(ours) == {*theirs, "step", "learning_rate"}
    return expected


@pytest.mark.equation("gan-discriminator-loss")
@pytest.mark.equation("gan-saturating")
@pytest.mark.equation("gan-non-saturating")
@pytest.mark.parametrize("kind", ["non-saturating", "saturating"])
@pytest.mark.parametrize("critic_steps", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"betas": (0.5, 0.999), "clip": 0.0},
        {"betas": (0.0, 0.9), "clip": 0.3, "schedule": "constant"},
        {"optimizer": "rmsprop", "clip": 0.0},
    ],
    ids=["adam", "adam-clipped", "rmsprop"],
)
def test_a_gan_against_numpy(kind, critic_steps, options):
    settings = config(
        steps=25, learning_rate=0.05, critic_steps=critic_steps, ema=0.6, seed=4, **options
    )
    model = linear_game(GAN, GANConfig(**LINEAR, loss=kind))
    expected = check_against_numpy(model, GANByHand(kind), settings)
    assert expected["cut"] > 5 or not settings.clip


@pytest.mark.equation("wgan-critic-loss")
@pytest.mark.equation("wgan-generator-loss")
@pytest.mark.equation("wgan-clip")
@pytest.mark.equation("wgan-penalty")
@pytest.mark.parametrize("constraint", ["clip", "penalty"])
@pytest.mark.parametrize(
    "options", [{"optimizer": "rmsprop"}, {"betas": (0.0, 0.9)}], ids=["rmsprop", "adam"]
)
@pytest.mark.parametrize("critic_steps", [1, 3])
def test_a_wgan_against_numpy(constraint, options, critic_steps):
    settings = config(
        steps=25, learning_rate=0.02, critic_steps=critic_steps, ema=0.6, clip=0.0, **options
    )
    about = WGANConfig(
        **LINEAR, networks="perceptron", constraint=constraint, clip=0.5, penalty=2.0
    )
    expected = check_against_numpy(linear_game(WGAN, about), WGANByHand(about), settings)
    if constraint == "clip":
        assert np.abs(expected["first"]).max() == 0.5


@pytest.mark.equation("wgan-clip")
def test_the_critics_weights_are_within_the_bound_at_every_move(monkeypatch):
    """Also when the generator moves, which is not clipped."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        about = WGANConfig(**(LINEAR | {"hidden": (8,)}), networks="perceptron", constraint="clip")
        model = WGAN(about).double()
    largest: list[tuple[float, float]] = []
    original = WGAN.loss

    def loss(self, batch, *, player, generator):
        parts = (self.critic, self.generator)
        largest.append(
            tuple(
                np.abs(
                    torch.nn.utils.parameters_to_vector(part.parameters()).detach().numpy()
                ).max()
                for part in parts
            )
        )
        return original(self, batch, player=player, generator=generator)

    monkeypatch.setattr(WGAN, "loss", loss)
    played(model, critic_steps=2, optimizer="rmsprop", learning_rate=1e-3)
    assert len(largest) == 24
    assert largest[0][0] > 0.01  # as initialised
    assert all(critic <= 0.01 for critic, _ in largest[1:])
    assert all(generator > 0.1 for _, generator in largest)


# Alone as before


class Centre(nn.Module):
    """Finds the mean of its data."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))

    def loss(self, batch, *, generator):
        noise = torch.rand(1, generator=generator, dtype=torch.float64)
        return (batch - self.w + noise).square().mean(), {}


@pytest.mark.parametrize("critic_steps", [1, 4])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_a_single_player_trains_as_a_plain_loop_does(critic_steps, optimizer):
    """Bit for bit, with the batches and noise of the steps, whatever ``critic_steps`` is."""
    settings = config(
        steps=20, optimizer=optimizer, betas=(0.7, 0.95), critic_steps=critic_steps, clip=0.0
    )
    ours, theirs = Centre(), Centre()
    fit(ours, numbers(), settings, quiet=True)
    if optimizer == "adam":
        plain = torch.optim.Adam(theirs.parameters(), betas=(0.7, 0.95))
    else:
        plain = torch.optim.RMSprop(theirs.parameters())
    for step in range(20):
        plain.param_groups[0]["lr"] = 1e-3 * (0.5 * (1 + math.cos(math.pi * step / 20)))
        loss, _ = theirs.loss(batch_of(step, settings), generator=step_generator(step, seed=0))
        plain.zero_grad()
        loss.backward()
        plain.step()
    assert torch.equal(ours.w, theirs.w)
    assert not torch.equal(ours.w, Centre().w)


def test_a_player_may_be_the_only_one_and_have_a_name():
    class Named(nn.Module):
        players = ("body",)

        def __init__(self):
            super().__init__()
            self.body, self.names, self.after = Centre(), [], []

        def loss(self, batch, *, player, generator):
            self.names.append(player)
            return self.body.loss(batch, generator=generator)

        def after_move(self, player):
            self.after.append(player)

    alone, named = Centre(), Named()
    played(alone, critic_steps=3)
    played(named, critic_steps=3)
    assert torch.equal(alone.w, named.body.w)
    assert named.names == named.after == ["body"] * 8


# Logs


def test_logs_are_the_first_players_loss_and_the_others_by_name():
    """Of a player that moves several times, the last move is reported."""
    model, lines = Trio(), []
    settings = config(critic_steps=3, log_every=2)
    fit(model, numbers(), settings, quiet=True, on_log=lines.append)
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    for line in lines:
        assert set(line) == {
            *("step", "learning_rate", "loss", "generator_loss", "referee_loss"),
            *("critic_noise", "generator_noise", "referee_noise"),
        }
        window = model.story[(line["step"] - 2) * 5 : line["step"] * 5]
        for name in model.players:
            noises = [scene["noise"] for scene in window if scene["player"] == name]
            every = 3 if name == "critic" else 1
            assert line[f"{name}_noise"] == pytest.approx(np.mean(noises[every - 1 :: every]))


# The average


def test_averages_of_a_game_with_batch_norms():
    """Weights are averaged once a step; the norms' running averages are copied as they are."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DCGAN(DCGANConfig(latent_dim=2, width=1)).double()
    images = torch.rand(10, 1, 28, 28, generator=torch.Generator().manual_seed(0)).double()
    history: list[dict[str, torch.Tensor]] = []
    settings = config(steps=5, ema=0.5, learning_rate=0.05)
    averaged = fit(
        model,
        images,
        settings,
        quiet=True,
        on_log=lambda line: history.append({k: v.clone() for k, v in model.state_dict().items()}),
    )
    assert averaged is not model
    assert not averaged.training
    for key, value in averaged.state_dict().items():
        last = history[-1][key]
        if "running" in key or "num_batches" in key:
            assert torch.equal(value, last), key
            assert not torch.equal(value, history[-2][key]), key
            continue
        expected = history[0][key]
        for step, weights in enumerate(history[1:], start=1):
            decay = min(0.5, (1 + step) / (10 + step))
            expected = decay * expected + (1 - decay) * weights[key]
        assert torch.allclose(value, expected, rtol=1e-6, atol=1e-8), key
        assert not torch.allclose(value, last, rtol=1e-4) or "bias" in key
    # In a step the discriminator sees two batches at its own move and one at the other's.
    assert int(averaged.discriminator[3].num_batches_tracked) == 5 * 3
    assert int(averaged.generator[2].num_batches_tracked) == 5 * 2


# Resuming


def dcgan() -> tuple[nn.Module, torch.Tensor, dict]:
    images = torch.rand(12, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return DCGAN(DCGANConfig(latent_dim=2, width=1)), images, {"betas": (0.5, 0.999)}


def wgan_gp() -> tuple[nn.Module, torch.Tensor, dict]:
    about = WGANConfig(**(LINEAR | {"hidden": (4,)}), networks="perceptron")
    return WGAN(about).double(), numbers(), {"betas": (0.0, 0.9), "critic_steps": 3}


def wgan_clip() -> tuple[nn.Module, torch.Tensor, dict]:
    about = WGANConfig(**(LINEAR | {"hidden": (4,)}), networks="perceptron", constraint="clip")
    return WGAN(about).double(), numbers(), {"optimizer": "rmsprop", "critic_steps": 2}


def run(game, folder, on_log=None) -> nn.Module:
    """Play a game of twelve steps, from the same start every time."""
    with torch.random.fork_rng():
        torch.manual_seed(9)
        model, data, options = game()
    settings = config(steps=12, learning_rate=1e-2, ema=0.9, **options)
    return fit(model, data, settings, folder=folder, quiet=True, on_log=on_log)


def saved(folder) -> dict:
    return torch.load(folder / STATE, weights_only=True)


def leaves(value, where="") -> dict[str, object]:
    """A nested state as one flat dictionary."""
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list | tuple):
        pairs = enumerate(value)
    else:
        return {where: value}
    return {
        place: leaf for key, part in pairs for place, leaf in leaves(part, f"{where}/{key}").items()
    }


def assert_same_state(first: dict, second: dict) -> None:
    for part in ("model", "optimizers", "average", "step", "settings"):
        ours, theirs = leaves(first[part]), leaves(second[part])
        assert ours.keys() == theirs.keys(), part
        for key, value in ours.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, theirs[key]), (part, key)
            else:
                assert value == theirs[key], (part, key)


@pytest.mark.parametrize("game", [dcgan, wgan_gp, wgan_clip])
def test_an_interrupted_game_ends_with_the_same_bits(game, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = run(game, whole)
    for stop in (1, 6, 7):
        with pytest.raises(Interrupted, match=f"after step {stop} of 12"):
            run(game, parts, on_log=press_at(stop))
        assert saved(parts)["step"] == stop
    model = run(game, parts)
    assert_same_state(saved(parts), saved(whole))
    for key, value in model.state_dict().items():
        assert torch.equal(value, expected.state_dict()[key]), key
    assert (parts / LOG).read_text() == (whole / LOG).read_text()


def test_both_optimizers_are_in_the_state(tmp_path):
    """With as many steps as their players have moved, and something for every weight."""
    model = run(wgan_gp, tmp_path)
    optimizers = saved(tmp_path)["optimizers"]
    assert set(optimizers) == {"critic", "generator"}
    for name, moved in (("critic", 36), ("generator", 12)):
        memory = optimizers[name]["state"]
        assert len(memory) == len(list(getattr(model, name).parameters()))
        assert {int(entry["step"]) for entry in memory.values()} == {moved}
        assert optimizers[name]["param_groups"][0]["betas"] == (0.0, 0.9)


def test_a_signal_amid_a_step_lets_all_players_finish_it(tmp_path, monkeypatch):
    original, calls = WGAN.loss, []

    def loss(self, batch, *, player, generator):
        calls.append(player)
        if len(calls) == 10:  # the second of the critic's three moves in step 3
            signal.raise_signal(signal.SIGINT)
        return original(self, batch, player=player, generator=generator)

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(wgan_gp, whole)
    monkeypatch.setattr(WGAN, "loss", loss)
    with pytest.raises(Interrupted, match="after step 3 of 12"):
        run(wgan_gp, parts)
    assert calls[-4:] == ["critic", "critic", "critic", "generator"]
    assert len(calls) == 12
    run(wgan_gp, parts)
    assert len(calls) == 48
    assert_same_state(saved(parts), saved(whole))


def test_the_log_of_a_game_can_be_read_back(tmp_path):
    lines: list[dict] = []
    run(dcgan, tmp_path, on_log=lines.append)
    assert [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()] == lines
    assert set(lines[0]) == {"step", "loss", "generator_loss", "accuracy", "learning_rate"}


# It learns


PLANE = {"data_shape": (2,), "bounded": False, "latent_dim": 2, "hidden": (16,)}


@pytest.mark.parametrize(
    ("kind", "about", "options"),
    [
        (GAN, GANConfig(**PLANE), {"steps": 150, "betas": (0.5, 0.9)}),
        (
            WGAN,
            WGANConfig(**PLANE, networks="perceptron", constraint="clip", clip=0.1),
            {"steps": 80, "optimizer": "rmsprop", "critic_steps": 3},
        ),
        (
            WGAN,
            WGANConfig(**PLANE, networks="perceptron", penalty=1.0),
            {"steps": 80, "betas": (0.0, 0.9), "critic_steps": 3, "learning_rate": 0.02},
        ),
    ],
    ids=["gan", "wgan", "wgan-gp"],
)
def test_a_game_moves_the_samples_to_the_data(kind, about, options):
    """Points of the plane around (2, -1), from samples around (0, 0)."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = kind(about)
    data = 0.5 * torch.randn(256, 2, generator=torch.Generator().manual_seed(0))
    data = data + torch.tensor([2.0, -1.0])

    def miss(model):
        with torch.no_grad():
            samples = model.sample(2000, generator=torch.Generator().manual_seed(0))
        return (samples.mean(0) - data.mean(0)).norm()

    assert miss(model) > 2
    settings = config(**({"learning_rate": 0.01, "batch_size": 64, "clip": 0.0} | options), ema=0.9)
    assert miss(fit(model, data, settings, quiet=True)) < 0.5
