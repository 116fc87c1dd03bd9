"""Captions from file names, and clothes as small photographs."""

from pathlib import Path

import pytest
import torch

from course_lib import data
from course_lib.data.captions import CAPTION_WORDS, SUBJECTS, caption
from course_lib.data.clothes import CLOTHES_WORDS, as_clothes, as_photographs, clothes_caption


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("perched-osprey.webp", "a photograph of a bird"),
        ("life-by-aitzol-berasategi.webp", "a photograph of a forest"),
        ("India-Golden-Temple.JPG", "a photograph of a temple"),
        ("old_oak-2.png", "a photograph of old oak"),
        ("dusk-by-somebody.png", "a photograph of dusk"),
        ("0012.png", "a photograph"),
    ],
)
def test_captions_come_from_names(name, expected):
    assert caption(Path("somewhere") / name) == expected


def test_the_words_of_all_subjects_are_known():
    words = {word for subject, _ in SUBJECTS for word in f"a photograph of {subject}".split()}
    assert words == set(CAPTION_WORDS)


def test_clothes_go_into_a_frame_and_out_of_it():
    images = data.load(split="test").images[:3]
    framed = as_photographs(images)
    assert framed.shape == (3, 3, 32, 32)
    assert torch.allclose(as_clothes(framed), images, atol=1e-6)
    assert framed[..., 0].max() == 0


def test_every_class_has_a_caption_of_known_words():
    captions = [clothes_caption(name) for name in data.CLASS_NAMES["fashion-mnist"]]
    assert captions[0] == "a t-shirt"
    assert captions[-1] == "an ankle boot"
    assert len(set(captions)) == 10
    assert {w for c in captions for w in c.replace("-", " ").split()} == set(CLOTHES_WORDS)
