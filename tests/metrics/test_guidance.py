"""What guidance does, measured on models whose answer is known."""

import pytest
from PIL import Image

from course_lib import data, metrics
from course_lib.data.clothes import as_photographs, clothes_caption
from course_lib.metrics import MetricsError, guidance


class Obedient:
    """It answers with images of the class that the text names, or else of what it sees."""

    scale = 4

    def __init__(self, obeys):
        self.obeys, self.test, self.calls = obeys, data.load(split="test"), []

    def upscale(self, lr, *, prompt, **options):
        names = [clothes_caption(name) for name in self.test.class_names]
        self.calls.append((prompt, options))
        label = names.index(prompt) if self.obeys else (names.index(prompt) + 5) % 10
        images = as_photographs(self.test.of_class(label)[: len(lr)])
        return type("Upscaled", (), {"image": images})


@pytest.mark.parametrize("obeys", [True, False])
def test_obedience_is_what_the_classifier_sees(obeys):
    upscaler = Obedient(obeys)
    found = metrics.class_consistency(upscaler, guidance_scale=2.0, noise_level=9, each=20, seed=3)
    assert found["obeyed" if obeys else "kept"] > 0.85
    assert found["kept" if obeys else "obeyed"] < 0.1
    assert len(upscaler.calls) == 10
    assert {prompt for prompt, _ in upscaler.calls} == {
        clothes_caption(name) for name in upscaler.test.class_names
    }
    assert [options["seed"] for _, options in upscaler.calls] == list(range(3, 13))


def test_the_table_has_every_level_and_scale(monkeypatch):
    monkeypatch.setattr(guidance, "EACH", 2)
    monkeypatch.setattr(
        guidance,
        "class_consistency",
        lambda up, *, guidance_scale, noise_level: {"obeyed": guidance_scale, "kept": 0.0},
    )
    table = metrics.guidance_table(Obedient(True))
    assert len(table["by_guidance"]) == len(guidance.GUIDANCE) * len(guidance.NOISE_LEVELS)
    assert table["obeyed_unguided"] == guidance.GUIDANCE[0]
    assert table["obeyed_guided"] == guidance.GUIDANCE[-1]


def test_a_reconstruction_is_measured_after_decoding(tiny_latent):
    stones = data.to_image(data.example("stones")[..., :66, :61])
    found = metrics.reconstruction(tiny_latent, [("stones", stones)])
    assert list(found) == ["stones"]
    assert 14 < found["stones"] < 30  # mean colours, and little more
    with pytest.raises(MetricsError, match="no images"):
        metrics.reconstruction(tiny_latent, [])


def test_effects_are_differences_from_the_usual_result(tiny_latent, monkeypatch):
    monkeypatch.setattr(guidance, "CHANGES", {"nothing": {}, "another seed": {"seed": 1}})
    image = data.to_image(data.example("stones")[..., :32, :32])
    assert isinstance(image, Image.Image)
    found = metrics.option_effects(tiny_latent, [image, image])
    assert found["nothing"] == 0
    assert found["another seed"] > 0
