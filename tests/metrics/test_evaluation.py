"""The protocol: what is compared with what, and that it tells good images from bad."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import data, weights
from course_lib.metrics import (
    PROTOCOL,
    MetricsError,
    class_coverage,
    evaluate,
    evaluate_model,
    evaluation,
    frechet_distance,
    headline,
    precision_recall,
    real_images,
)


def noise(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


NUMBERS = {
    "samples",
    "reference",
    "floor",
    "frechet",
    "frechet_floor",
    "frechet_ratio",
    "precision",
    "precision_floor",
    "recall",
    "recall_floor",
    "smallest_share",
    "smallest_share_floor",
    "shares",
}


def test_every_number_is_what_its_name_says(ruler, train_images):
    """Three different sets, so that nothing can stand for anything else."""
    images, reference, floor = train_images[:90], train_images[200:320] * 0.8, train_images[400:490]
    levels = reference.mul(255).round().div(255)
    found = evaluate(images, reference, floor=floor, classifier=ruler)
    assert set(found) == NUMBERS
    assert (found["samples"], found["reference"], found["floor"]) == (90, 120, 90)

    ours, real, others = (ruler.features(x) for x in (images, levels, floor))
    assert found["frechet"] == pytest.approx(frechet_distance(ours, real), rel=1e-6)
    assert found["frechet_floor"] == pytest.approx(frechet_distance(others, real), rel=1e-6)
    assert found["frechet_ratio"] == found["frechet"] / found["frechet_floor"]
    assert (found["precision"], found["recall"]) == precision_recall(real, ours)
    assert (found["precision_floor"], found["recall_floor"]) == precision_recall(real, others)
    assert found["precision"] != found["recall"]

    shares = class_coverage(ours.argmax(1))
    assert list(found["shares"]) == list(data.CLASS_NAMES["fashion-mnist"])
    assert list(found["shares"].values()) == shares.tolist()
    assert found["smallest_share"] == 0  # the ruler knows four classes only


class ByBrightness(nn.Module):
    """A head to which brightness is the class: the tenth of the grey scale."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.eye(10)[(10 * features.mean(1)).long()]


def greys(*counts: int) -> torch.Tensor:
    """Plain grey images: so many of each tenth of the grey scale."""
    levels = (torch.arange(10) + 0.5) / 10
    return levels.repeat_interleave(torch.tensor(counts))[:, None, None, None].expand(-1, 1, 28, 28)


def test_shares_are_those_of_samples_and_floor(ruler, train_images):
    ruler.head = ByBrightness()
    samples, floor = greys(*[10] * 3, 4, *[10] * 5, 16), greys(*[9] * 5, *[11] * 5)
    assert len(samples) == len(floor) == 100
    found = evaluate(samples, train_images[:50], floor=floor, classifier=ruler)
    assert found["smallest_share"] == 0.04
    assert found["smallest_share_floor"] == 0.09
    assert list(found["shares"].values()) == [0.1, 0.1, 0.1, 0.04, *[0.1] * 5, 0.16]


def test_by_default_the_reference_and_the_floor_are_the_shipped_images(
    ruler, test_images, train_images
):
    images = train_images[:70]
    found = evaluate(images, classifier=ruler, seed=4)
    chosen = real_images(70, seed=4)
    assert found == evaluate(images, test_images, floor=chosen, classifier=ruler)
    assert found["reference"] == 2000
    assert evaluate(images, classifier=ruler, seed=5)["frechet_floor"] != found["frechet_floor"]
    assert evaluate(images, classifier=ruler, seed=5)["frechet"] == found["frechet"]


def test_real_images_are_different_training_images(train_images):
    chosen = real_images(300, seed=1)
    known = {image.numpy().tobytes() for image in train_images}
    assert len({image.numpy().tobytes() for image in chosen}) >= 299  # the set has some twins
    assert all(image.numpy().tobytes() in known for image in chosen)
    assert torch.equal(chosen, real_images(300, seed=1))
    assert not torch.equal(chosen, real_images(300, seed=2))
    everything = real_images(12_000)
    assert torch.equal(everything.mean((1, 2, 3)).sort()[0], train_images.mean((1, 2, 3)).sort()[0])
    with pytest.raises(MetricsError, match=r"12,001 samples cannot be compared .* 12,000 ship"):
        real_images(12_001)


def test_real_images_are_not_balanced_but_left_to_chance():
    train = data.load(split="train")
    label_of = dict(zip((i.numpy().tobytes() for i in train.images), train.labels, strict=True))
    labels = torch.stack([label_of[i.numpy().tobytes()] for i in real_images(500)])
    counts = torch.bincount(labels, minlength=10)
    assert counts.min() >= 30
    assert len(set(counts.tolist())) > 3


def test_images_are_measured_as_a_file_would_hold_them(ruler, train_images):
    """A third of a grey level makes no difference; two levels do."""
    images, reference, floor = train_images[:50], train_images[100:200], train_images[300:350]
    found = evaluate(images, reference, floor=floor, classifier=ruler)
    blurred = (images + 0.3 / 255).clamp(max=1)
    assert evaluate(blurred, reference, floor=floor, classifier=ruler) == found
    brighter = (images + 2 / 255).clamp(max=1)
    assert evaluate(brighter, reference, floor=floor, classifier=ruler) != found
    saved = images.mul(255).round().to(torch.uint8).float() / 255
    assert evaluate(saved, reference, floor=floor, classifier=ruler) == found


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (noise(50) * 2 - 1, r"must be in \[0, 1\], but these reach from -"),
        (noise(50) * 255, r"must be in \[0, 1\]"),
        (noise(50) * torch.nan, r"reach from nan"),
        (noise(50)[:, 0], r"of shape \(N, 1, 28, 28\), but these are \(50, 28, 28\)"),
        (noise(50).expand(50, 3, 28, 28), r"these are \(50, 3, 28, 28\)"),
        (noise(50)[..., :27], "of shape"),
        (noise(4), "4 samples are too few"),
        (noise(50)[:0], "of shape"),
    ],
)
def test_what_cannot_be_measured_is_refused(ruler, images, message):
    with pytest.raises(MetricsError, match=message):
        evaluate(images, classifier=ruler)


def test_the_floor_must_have_as_many_images(ruler):
    with pytest.raises(MetricsError, match="50 samples cannot be compared with a floor of 49"):
        evaluate(noise(50), floor=noise(49), classifier=ruler)


def test_a_model_is_measured_by_its_samples(ruler, copier):
    found = evaluate_model(copier, 520, 3, classifier=ruler)
    assert copier.calls == [500, 20]
    generator = torch.Generator().manual_seed(3)
    images = torch.cat(
        [copier.sample(500, generator=generator), copier.sample(20, generator=generator)]
    )
    assert {key: found[key] for key in NUMBERS} == evaluate(images, classifier=ruler, seed=3)
    assert found.keys() - NUMBERS == {"images_per_second", "threads"}
    assert found["images_per_second"] > 0
    assert found["threads"] == torch.get_num_threads()


def test_speed_is_in_images_a_second(ruler, copier, monkeypatch):
    monkeypatch.setattr(evaluation, "draw", lambda *_, **__: (copier.images[:100], 8.0))
    assert evaluate_model(copier, 100, classifier=ruler)["images_per_second"] == 12.5


def test_by_default_2000_samples_are_measured(ruler, copier):
    assert evaluate_model(copier, classifier=ruler)["samples"] == 2000
    assert copier.calls == [500] * 4


def test_options_of_sampling_are_passed_on(ruler, copier, stepped_copier):
    evaluate_model(stepped_copier, 100, classifier=ruler, sampler="ddpm", steps=7)
    assert stepped_copier.options == ("ddpm", 7)
    with pytest.raises(MetricsError, match="'Copier' is not sampled by steps"):
        evaluate_model(copier, 100, classifier=ruler, steps=7)
    assert copier.calls == []


def test_a_model_can_be_named(ruler, tmp_path, copier):
    found = evaluate_model("vae-2d", 100, 1, classifier=ruler)
    weights.publish(weights.load("vae-2d"), "mine", {}, tmp_path)
    again = evaluate_model("mine", 100, 1, where=tmp_path, classifier=ruler)
    assert headline(found) == headline(again)
    with pytest.raises(MetricsError, match="'autoencoder' is not a generative model"):
        evaluate_model("autoencoder", 100, classifier=ruler)


def test_the_headline_is_what_any_machine_would_find(ruler, copier):
    found = evaluate_model(copier, 60, classifier=ruler)
    assert headline(found) == {
        key: found[key]
        for key in (
            "frechet",
            "frechet_floor",
            "frechet_ratio",
            "precision",
            "recall",
            "smallest_share",
        )
    }
    assert all(isinstance(value, float) for value in headline(found).values())


def test_the_protocol_says_what_is_done():
    for part in ("2,000 test images", "12,000", "3 nearest", "256 grey levels", "biased upward"):
        assert part in PROTOCOL
    assert "FID" not in PROTOCOL
    assert len(data.load(split="test")) == 2000


# With the classifier that ships


@pytest.fixture(scope="module")
def measured(shipped, train_images, test_images):
    """Sets of 300: real ones, ones without trousers and bags, blurred ones, noise."""
    chosen = real_images(300, seed=11)
    train = data.load(split="train")
    lost = (train.labels == 1) | (train.labels == 8)
    sets = {
        "real": chosen,
        "lost": train.images[~lost][:300],
        "blurred": F.avg_pool2d(chosen, 3, stride=1, padding=1),
        "noise": noise(300),
    }
    options = {"reference": test_images[:600], "floor": real_images(300), "classifier": shipped}
    return {name: evaluate(images, **options) for name, images in sets.items()}


def test_real_images_are_as_good_as_real_images(measured):
    real = measured["real"]
    assert 0.5 < real["frechet_ratio"] < 2
    assert real["precision"] == pytest.approx(real["precision_floor"], abs=0.08)
    assert real["recall"] == pytest.approx(real["recall_floor"], abs=0.08)
    assert real["precision"] > 0.75
    assert real["recall"] > 0.75
    assert real["smallest_share"] > 0.04


def test_lost_classes_show_in_the_shares(measured):
    lost = measured["lost"]
    assert lost["shares"]["Trouser"] < 0.02
    assert lost["shares"]["Bag"] < 0.02
    assert lost["smallest_share"] == min(lost["shares"].values())
    assert lost["frechet_ratio"] > 1.5 * measured["real"]["frechet_ratio"]
    assert sum(lost["shares"].values()) == pytest.approx(1)


def test_worse_images_are_farther_away(measured):
    ratios = [measured[name]["frechet_ratio"] for name in ("real", "blurred", "noise")]
    assert ratios[1] > 2 * ratios[0]
    assert ratios[2] > 5 * ratios[1]
    assert measured["blurred"]["recall"] < measured["real"]["recall"] - 0.2
    assert measured["noise"]["recall"] < 0.05


def test_by_default_the_shipped_classifier_measures(shipped, train_images):
    sets = (train_images[:80], train_images[100:180])
    found = evaluate(*sets, floor=train_images[200:280])
    assert found == evaluate(*sets, floor=train_images[200:280], classifier=shipped)
