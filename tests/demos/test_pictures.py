"""From a file to what a model works on: the part, the size, the words for it."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from course_lib.data import ImageError, UserImage
from pictures import (
    MAX_PIXELS,
    WHOLE,
    Cut,
    dimensions,
    explain,
    framed,
    part_box,
    plain,
    prepare,
    read,
    short,
    shrunk_size,
    stem,
)

sides = st.integers(1, 6000)
places = st.floats(0, 1)


@given(sides, sides, st.sampled_from((128, 256, 512)), places, places)
def test_part_lies_within_the_picture_and_is_as_large_as_can_be(width, height, limit, x, y):
    left, top, right, bottom = part_box((width, height), limit, Cut(across=x, down=y))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert (right - left, bottom - top) == (min(width, limit), min(height, limit))


def test_the_ends_of_the_sliders_are_the_ends_of_the_picture():
    assert part_box((1000, 800), 256, Cut(across=0, down=1)) == (0, 544, 256, 800)
    assert part_box((1000, 800), 256, Cut(across=1, down=0)) == (744, 0, 1000, 256)


@given(sides, sides, st.sampled_from((128, 256, 512)))
def test_whole_fits_and_keeps_its_shape(width, height, limit):
    small = shrunk_size((width, height), limit)
    assert max(small) == limit
    assert min(small) >= 1
    assert small[0] * height == pytest.approx(small[1] * width, abs=max(width, height))


@given(sides, sides, places, places)
def test_the_frame_can_always_be_drawn(width, height, x, y):
    size, thumbnail = (width, height), Image.new("RGB", (width, height), "red")
    thumbnail.thumbnail((480, 480))
    box = part_box(size, 256, Cut(across=x, down=y))
    drawn = framed(thumbnail, size, box)
    assert drawn.size == thumbnail.size
    assert drawn is not thumbnail


def test_the_frame_is_around_the_part():
    thumbnail = Image.new("RGB", (400, 300), "red")
    drawn = framed(thumbnail, (4000, 3000), (1000, 500, 2000, 1500))
    assert drawn.getpixel((150, 100)) == (255, 0, 0)
    assert drawn.getpixel((100, 100)) == (0, 0, 0)
    assert drawn.getpixel((101, 100)) == (255, 255, 255)
    assert drawn.getpixel((99, 100)) == (255, 0, 0)


def user_image(width: int, height: int, alpha: bool = False) -> UserImage:
    layer = Image.new("L", (width, height), 128) if alpha else None
    return UserImage(Image.new("RGB", (width, height), "red"), layer, "PNG", ())


@pytest.mark.parametrize("truth", [False, True])
@pytest.mark.parametrize("how", ["a part of it", WHOLE])
@pytest.mark.parametrize("size", [(4000, 3000), (1030, 20), (256, 256), (17, 33)])
def test_models_get_at_most_the_limit(size, how, truth):
    prepared = prepare(user_image(*size, alpha=True), 256, Cut(how), scale=4, truth=truth)
    assert max(prepared.lr.size) <= 256
    if truth:
        assert prepared.alpha is None
        assert prepared.hr.size == tuple(4 * side for side in prepared.lr.size)
    else:
        assert prepared.hr is None
        assert prepared.alpha.size == prepared.lr.size


def test_too_little_for_a_ground_truth_is_said():
    with pytest.raises(ImageError, match="3 x 9 pixels are too few"):
        prepare(user_image(3, 9), 256, Cut(), scale=4, truth=True)


def test_what_is_done_is_said_in_a_sentence(picture_file):
    def sentence(size, cut, truth):
        source = read("key", "name.png", picture_file(*size))
        return explain(source, prepare(source.image, 256, cut, scale=4, truth=truth), 4)

    assert sentence((20, 10), Cut(), False) == (
        "The model enlarges all of its 20 × 10 pixels to 80 × 40."
    )
    assert "a part of 256 × 100 pixels, framed" in sentence((500, 100), Cut(), False)
    assert "the whole, first made smaller to 256 × 51 pixels" in sentence(
        (500, 100), Cut(WHOLE), False
    )
    assert sentence((21, 10), Cut(), True) == (
        "The ground truth is 20 × 8 pixels of it. The models see only what is left of it at "
        "5 × 2, and make it 20 × 8 again."
    )


@pytest.mark.parametrize("content", [b"", b"just some text", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(ImageError):
        read("key", "name.png", content)


def test_too_many_pixels_are_refused_before_they_are_decoded():
    file = BytesIO()
    Image.new("1", (MAX_PIXELS // 1000 + 1, 1000)).save(file, "PNG")
    with pytest.raises(ImageError, match="pixels"):
        read("key", "bomb.png", file.getvalue())


def test_small_pictures_have_a_thumbnail_of_squares(picture_file):
    source = read("key", "icon.png", picture_file(16, 8))
    assert source.size == (16, 8)
    assert source.thumbnail.size == (240, 120)


def test_names_are_shown_as_they_are():
    assert plain("a_[b](c)*\n$x$") == r"a\_\[b\](c)\*" + r" \$x\$"
    assert len(short("long" * 99)) < 60
    assert stem("../../etc/My photo!.jpg") == "My-photo"
    assert stem("...") == "picture"
    assert dimensions((3, 4)) == "3 × 4"
