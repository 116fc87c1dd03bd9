"""From a visitor's file to the picture that a model works on. Nothing here needs Streamlit."""

import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePath

from PIL import Image, ImageDraw

from course_lib import data

MAX_MEGABYTES = 50
MAX_PIXELS = 25_000_000
THUMBNAIL, SMALL = 480, 240  # pixels along the longer side: at most, and about at least
ENDINGS = ("png", "jpg", "jpeg", "webp", "tif", "tiff", "bmp", "gif")
PART, WHOLE = "a part of it", "the whole, made smaller"

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels, as Pillow has it


@dataclass(frozen=True, eq=False)
class Source:
    """A picture that a visitor has chosen, upright, with a thumbnail of it.

    ``key`` tells it from all others.
    """

    key: str
    name: str
    image: data.UserImage
    thumbnail: Image.Image

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.rgb.size


@dataclass(frozen=True)
class Cut:
    """How a picture that is too large is made to fit: ``how`` is PART or WHOLE.

    ``across`` and ``down`` place the part, from 0 (left, top) to 1 (right, bottom).
    """

    how: str = PART
    across: float = 0.5
    down: float = 0.5


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a model works on.

    ``lr`` is enlarged; ``alpha`` is its transparency, if any. ``hr`` is the original where
    there is one: ``lr`` was then made from it. ``box`` is the part of the source that was
    taken, or None for the whole of it; ``shrunk`` says that the source was made smaller.
    """

    lr: Image.Image
    alpha: Image.Image | None
    hr: Image.Image | None
    box: Box | None
    shrunk: bool


def read(key: str, name: str, content: bytes) -> Source:
    """Read a visitor's file, of up to ``MAX_PIXELS``; raises :class:`ImageError`."""
    try:
        return source(key, name, data.read_image(content, max_pixels=MAX_PIXELS))
    except MemoryError as error:
        raise data.ImageError("there is not enough memory to read this picture") from error


def source(key: str, name: str, image: data.UserImage) -> Source:
    """Return a picture with its thumbnail, in which an icon's pixels are squares."""
    thumbnail, longer = image.rgb.copy(), max(image.rgb.size)
    if longer < SMALL:
        factor = SMALL // longer
        size = tuple(factor * side for side in thumbnail.size)
        thumbnail = thumbnail.resize(size, Image.Resampling.NEAREST)
    thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
    return Source(key, name, image, thumbnail)


def part_box(size: tuple[int, int], limit: int, cut: Cut) -> Box:
    """Return the part of at most ``limit`` x ``limit`` pixels at the place that was chosen."""
    width, height = (min(side, limit) for side in size)
    left = round(cut.across * (size[0] - width))
    top = round(cut.down * (size[1] - height))
    return left, top, left + width, top + height


def shrunk_size(size: tuple[int, int], limit: int) -> tuple[int, int]:
    """Return the size with the longer side made ``limit``, and no side below 1."""
    factor = limit / max(size)
    return tuple(max(1, round(side * factor)) for side in size)


def prepare(image: data.UserImage, limit: int, cut: Cut, *, scale: int, truth: bool) -> Prepared:
    """Return what a model works on: at most ``limit`` x ``limit`` pixels.

    With ``truth`` the picture is the ground truth: up to ``scale * limit`` pixels a side are
    taken, cropped to multiples of ``scale``, and made ``scale`` times smaller. Raises
    :class:`ImageError` where too little is left for that.
    """
    limit = limit * scale if truth else limit
    size, box, shrunk = image.rgb.size, None, False
    if max(size) > limit and cut.how == PART:
        box = part_box(size, limit, cut)
    elif max(size) > limit:
        size, shrunk = shrunk_size(size, limit), True
    rgb, alpha = (fitted(layer, box, size) for layer in (image.rgb, image.alpha))
    if not truth:
        return Prepared(rgb, alpha, None, box, shrunk)
    if min(rgb.size) < scale:
        raise data.ImageError(
            f"{rgb.width} x {rgb.height} pixels are too few for a ground truth: "
            f"both sides must be at least {scale}"
        )
    hr = data.crop_to_multiple(data.to_tensor(rgb), scale)
    lr = data.to_image(data.downscale(hr, scale))
    return Prepared(lr, None, data.to_image(hr), box, shrunk)


def fitted(layer: Image.Image | None, box: Box | None, size: tuple[int, int]) -> Image.Image | None:
    """Return the part of a layer that was chosen, or the whole of it, made ``size``."""
    if layer is None:
        return None
    if box:
        return layer.crop(box)
    return layer if layer.size == size else layer.resize(size, Image.Resampling.LANCZOS)


def framed(thumbnail: Image.Image, size: tuple[int, int], box: Box | None) -> Image.Image:
    """Draw a frame around a part of a picture of this size on its thumbnail."""
    if box is None:
        return thumbnail
    ratio = thumbnail.width / size[0]
    left, top, right, bottom = (round(side * ratio) for side in box)
    # All of the frame has to lie within the thumbnail, and be seen around a tiny part.
    right, bottom = (
        min(max(right, left + 6), thumbnail.width),
        min(max(bottom, top + 6), thumbnail.height),
    )
    left, top = min(left, right - 6), min(top, bottom - 6)
    drawn = thumbnail.copy()
    draw = ImageDraw.Draw(drawn)
    for inset, colour in ((0, "black"), (1, "white"), (2, "white"), (3, "black")):
        corners = (left + inset, top + inset, right - 1 - inset, bottom - 1 - inset)
        if corners[0] <= corners[2] and corners[1] <= corners[3]:
            draw.rectangle(corners, outline=colour)
    return drawn


def dimensions(size: tuple[int, int]) -> str:
    """Return a size in words."""
    return f"{size[0]} × {size[1]}"


def explain(source: Source, prepared: Prepared, scale: int) -> str:
    """Say in a sentence what of the picture is enlarged."""
    large = tuple(scale * side for side in prepared.lr.size)
    taken = prepared.hr or prepared.lr
    if prepared.box:
        what = f"a part of {dimensions(taken.size)} pixels, framed in the picture,"
    elif prepared.shrunk:
        what = f"the whole, first made smaller to {dimensions(taken.size)} pixels,"
    elif taken.size == source.size:
        what = f"all of its {dimensions(source.size)} pixels"
    else:
        what = f"{dimensions(taken.size)} pixels of it"
    if prepared.hr:
        return (
            f"The ground truth is {what.rstrip(',')}. The models see only what is left of it at "
            f"{dimensions(prepared.lr.size)}, and make it {dimensions(large)} again."
        )
    return f"The model enlarges {what} to {dimensions(large)}."


def png(image: Image.Image) -> bytes:
    """Return an image as PNG: a little larger than need be, but at once."""
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def stem(name: str) -> str:
    """Return a name for a download, of what is safe in a file's name, without an ending."""
    return re.sub(r"[^\w-]+", "-", PurePath(name).stem).strip("-")[:60] or "picture"


def plain(text: str) -> str:
    """Return a text of others, such as a file's name, so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#$~:|!])", r"\\\1", " ".join(text.split()))


def short(name: str) -> str:
    """Return a file's name for Markdown, with the middle left out if it is long."""
    return plain(name if len(name) <= 48 else f"{name[:30]} … {name[-15:]}")
