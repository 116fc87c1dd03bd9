"""Users' images: every format and mode, what cannot be read, and bytes that mean harm."""

import io
import os
import struct
import warnings
import zlib
from datetime import timedelta

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from course_lib.data import ImageError, UserImage, read_image, to_image, to_tensor
from course_lib.data.reading import FORMATS

# Pillow warns of metadata that are damaged. Of its own limit it must not warn here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning"),
]

WHITE = (255, 255, 255)


def picture(width=30, height=20):
    """Smooth colours; every corner is different."""
    y, x = np.mgrid[0:height, 0:width]
    levels = np.stack(
        [30 + 195 * x / width, 30 + 195 * y / height, 127 + 60 * np.sin((x + y) / 4)], 2
    )
    return Image.fromarray(levels.astype(np.uint8))


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def distance(one, other):
    assert one.size == other.size
    return np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max()


def png(width, height, *, bits=8, colour=2, extra=b"", pixels=None):
    """A PNG put together by hand: it may say what it likes."""

    def chunk(name, content):
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    content = zlib.compress(pixels if pixels is not None else b"")
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", content)
        + chunk(b"IEND", b"")
    )


def tiff(tags):
    """A TIFF of these tags; its pixels, if any, begin at 6 with levels 8 and 0."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)


# Formats and modes


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WebP", "GIF", "JPEG"])
def test_formats(kind):
    image = picture()
    options = {"WebP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
    read = read_image(encoded(image, kind, **options))
    assert isinstance(read, UserImage)
    assert (read.rgb.mode, read.format, read.alpha, read.notes) == ("RGB", kind, None, ())
    assert kind in FORMATS
    assert distance(read.rgb, image) <= {"JPEG": 20, "GIF": 40}.get(kind, 0)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_compressed_tiff(compression):
    read = read_image(encoded(picture(), "TIFF", compression=compression))
    assert distance(read.rgb, picture()) <= (30 if compression == "jpeg" else 0)


def test_sources(tmp_path):
    """Path, its text, bytes of three kinds, a file, and one that cannot go back."""
    data = encoded(picture(), "PNG")
    path = tmp_path / "picture.png"
    path.write_bytes(data)

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.rest = io.BytesIO(data)

        def readable(self):
            return True

        def readinto(self, buffer):
            return self.rest.readinto(buffer)

    pipe = io.BufferedReader(Pipe())
    with path.open("rb") as file:
        for source in (path, str(path), data, bytearray(data), memoryview(data), file, pipe):
            assert distance(read_image(source).rgb, picture()) == 0
    path.unlink()  # nothing holds it open


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WebP", "GIF"])
def test_first_frame_of_many(kind):
    frames = [picture(), picture().rotate(90), picture().rotate(180)]
    options = {"lossless": True} if kind == "WebP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    read = read_image(data)
    assert read.notes == ("first frame of 3",)
    assert distance(read.rgb, frames[0]) <= (40 if kind == "GIF" else 0)


def test_a_damaged_later_frame_does_no_harm():
    data = encoded(picture(), "GIF", save_all=True, append_images=[picture().rotate(90)])
    read = read_image(data[: len(data) - 300])
    assert read.rgb.size == (30, 20)


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey(mode):
    image = picture().convert(mode)
    read = read_image(encoded(image, "PNG"))
    assert distance(read.rgb, image.convert("L").convert("RGB")) == 0
    assert (read.alpha, read.notes) == (None, ())


@pytest.mark.parametrize(
    ("kind", "mode", "note", "tolerance"),
    [
        ("TIFF", "CMYK", "converted from CMYK", 0),
        ("JPEG", "CMYK", "converted from CMYK", 12),
        ("TIFF", "LAB", "converted from Lab", 3),
        ("TIFF", "YCbCr", None, 3),
    ],
)
def test_other_colours(kind, mode, note, tolerance):
    image = picture().point(lambda level: 90 + level // 4)  # 8 bits of Lab are coarse elsewhere
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        other = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    else:
        other = image.convert(mode)
    options = {"quality": 100} if kind == "JPEG" else {}
    read = read_image(encoded(other, kind, **options))
    assert distance(read.rgb, image) <= tolerance
    assert read.notes == ((note,) if note else ())


DEEP = np.arange(600, dtype=np.float64).reshape(20, 30) / 599


@pytest.mark.parametrize(
    ("kind", "values", "expected", "note"),
    [
        ("PNG", (DEEP * 65535).astype(np.uint16), DEEP, "16 bits reduced to 8"),
        ("TIFF", (DEEP * 65535).astype(np.uint16), DEEP, "16 bits reduced to 8"),
        ("PNG", (DEEP * 200).astype(np.uint16), DEEP / 327, "16 bits reduced to 8"),
        ("TIFF", (DEEP * 65535).astype(np.int32), DEEP, "16 bits reduced to 8"),
        ("TIFF", (DEEP * 255).astype(np.int32), DEEP, "0 as black and 255 as white"),
        ("TIFF", (DEEP * 2e6 - 1e6).astype(np.int32), DEEP, "-1e+06 as black and 1e+06 as white"),
        ("TIFF", DEEP.astype(np.float32), DEEP, "floating point, 0 as black and 1 as white"),
        ("TIFF", (255 * DEEP).astype(np.float32), DEEP, "0 as black and 255 as white"),
        ("TIFF", (DEEP * 4 - 2).astype(np.float32), DEEP, "-2 as black and 2 as white"),
        ("TIFF", np.full((20, 30), -5, np.float32), DEEP * 0, "-5 as black and -5 as white"),
    ],
)
def test_more_than_8_bits(kind, values, expected, note):
    read = read_image(encoded(Image.fromarray(values), kind))
    grey = np.asarray(read.rgb)
    assert (grey[..., 0] == grey[..., 1]).all()
    assert (grey[..., 0] == grey[..., 2]).all()
    assert np.abs(grey[..., 0] - 255 * expected).max() < 1.01
    assert len(read.notes) == 1
    assert read.notes[0].endswith(note)


def test_numbers_that_are_none():
    values = DEEP.astype(np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    read = read_image(encoded(Image.fromarray(values), "TIFF"))
    assert np.asarray(read.rgb)[0, :3].max() == 0
    assert np.asarray(read.rgb).max() == 255


def test_colours_of_16_bits():
    levels = np.asarray(picture())
    deep = (levels.astype(">u2") * 256 + 77).astype(">u2")
    pixels = b"".join(b"\0" + row.tobytes() for row in deep)
    read = read_image(png(30, 20, bits=16, pixels=pixels))
    assert read.notes == ("16 bits reduced to 8",)
    assert distance(read.rgb, picture()) == 0


# Transparency


@pytest.mark.parametrize("kind", ["PNG", "WebP", "TIFF"])
def test_transparent_parts_lie_on_white(kind):
    image = picture().convert("RGBA")
    alpha = Image.fromarray(np.repeat([[0, 128, 255]], 20, 0).repeat(10, 1).astype(np.uint8))
    image.putalpha(alpha)
    read = read_image(encoded(image, kind, **({"lossless": True} if kind == "WebP" else {})))
    assert read.notes == ("transparent parts on white",)
    assert read.alpha.mode == "L"
    assert distance(read.alpha, alpha) == 0
    levels = np.asarray(read.rgb).astype(int)
    assert (levels[:, :10] == 255).all()
    assert (levels[:, 20:] == np.asarray(picture())[:, 20:]).all()
    half = 255 + (np.asarray(picture())[:, 10:20].astype(int) - 255) * 128 / 255
    assert np.abs(levels[:, 10:20] - half).max() <= 1


def test_grey_with_alpha():
    image = Image.merge("LA", [Image.new("L", (4, 3), 100), Image.new("L", (4, 3), 0)])
    read = read_image(encoded(image, "PNG"))
    assert read.rgb.getpixel((0, 0)) == WHITE
    assert read.alpha.getextrema() == (0, 0)


@pytest.mark.parametrize(
    ("mode", "transparency"),
    [("P", 2), ("P", bytes([0, 128])), ("L", 100), ("RGB", (9, 8, 7)), ("1", 0)],
)
def test_one_colour_is_transparent(mode, transparency):
    """As PNG and GIF can say it without an alpha channel."""
    if mode == "P":
        image = Image.fromarray(np.array([[0, 1, 2, 3]], dtype=np.uint8))
        image.putpalette([0, 0, 0, 10, 20, 30, 40, 50, 60, 70, 80, 90])
        clear = 0 if isinstance(transparency, bytes) else 2
    else:
        image = Image.new(mode, (4, 1), 1 if mode == "1" else 255 if mode == "L" else WHITE)
        image.putpixel((2, 0), transparency)
        clear = 2
    read = read_image(encoded(image, "PNG", transparency=transparency))
    assert read.alpha.getpixel((clear, 0)) == 0
    assert read.alpha.getpixel((3, 0)) == 255
    assert read.rgb.getpixel((clear, 0)) == WHITE
    if mode == "P":
        assert read.rgb.getpixel((3, 0)) == (70, 80, 90)
    if isinstance(transparency, bytes):
        assert read.alpha.getpixel((1, 0)) == 128


def test_a_transparent_colour_of_16_bits_hides_no_other_colour():
    pixels = b"\0" + struct.pack(">6H", 256, 256, 256, 300, 300, 300)
    name = b"tRNS" + struct.pack(">3H", 1, 1, 1)
    extra = struct.pack(">I", 6) + name + struct.pack(">I", zlib.crc32(name))
    read = read_image(png(2, 1, bits=16, extra=extra, pixels=pixels))
    assert read.alpha is None
    assert read.rgb.getpixel((0, 0)) == (1, 1, 1)


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "TIFF", "TIFF-lzw"])
def test_orientation(kind, orientation):
    image = picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WebP": {"lossless": True},
        "TIFF-lzw": {"compression": "tiff_lzw"},
    }.get(kind, {})
    read = read_image(encoded(image, kind.partition("-")[0], exif=exif, **options))
    upright = image.copy()
    upright.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(upright)
    assert distance(read.rgb, upright) <= (4 if kind == "JPEG" else 0)
    assert read.notes == (("turned as the camera says",) if orientation > 1 else ())


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_are_none(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = read_image(encoded(picture(), "PNG", exif=exif))
    assert distance(read.rgb, picture()) == 0
    assert read.notes == ()


def test_alpha_is_turned_too():
    image = Image.new("RGBA", (3, 2), (0, 0, 0, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    read = read_image(encoded(image, "PNG", exif=exif))
    assert read.alpha.size == read.rgb.size == (2, 3)
    assert read.alpha.getpixel((1, 0)) == 0
    assert read.rgb.getpixel((1, 0)) == WHITE


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP"])
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"]
)
def test_broken_exif_does_no_harm(kind, exif):
    read = read_image(encoded(picture(), kind, exif=exif))
    assert read.rgb.size == (30, 20)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP"])
def test_exif_that_cannot_be_read_is_noted(kind):
    read = read_image(encoded(picture(), kind, exif=b"Exif\0\0nonsense"))
    assert read.notes == ("EXIF data that cannot be read, ignored",)


@pytest.mark.parametrize("place", [5, 2**31, 8])
def test_tiff_with_exif_at_a_wrong_place(place):
    tags = {256: 2, 257: 1, 258: 8, 259: 1, 262: 1, 273: 6, 277: 1, 278: 1, 279: 2, 34665: place}
    assert read_image(tiff(tags)).rgb.size == (2, 1)


# Colour profiles


def linear_profile():
    """sRGB's primaries with linear curves: the same file as sRGB's but for the curves."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", data, 128)[0]
    for index in range(count):
        name, offset, size = struct.unpack_from(">4sII", data, 132 + 12 * index)
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            data[offset : offset + size] = struct.pack(">4sIIH", b"curv", 0, 0, 0)[:12].ljust(
                size, b"\0"
            )
        if name == b"desc":
            at = data.index("sRGB".encode("utf-16-be"), offset)
            data[at : at + 8] = "Line".encode("utf-16-be")
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WebP", "TIFF"])
def test_profile_is_turned_into_srgb(kind):
    """With linear curves a level of 55 is a lightness that sRGB writes as 128."""
    image = Image.new("RGB", (16, 16), (55, 55, 55))
    read = read_image(encoded(image, kind, icc_profile=linear_profile()))
    assert distance(read.rgb, Image.new("RGB", (16, 16), (128, 128, 128))) <= 2
    assert read.notes == ("colour profile Line built-in turned into sRGB",)


def test_srgb_profile_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    read = read_image(encoded(picture(), "PNG", icc_profile=profile))
    assert distance(read.rgb, picture()) == 0
    assert read.notes == ()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA"])
@pytest.mark.parametrize("profile", [b"nonsense", linear_profile()[:300], b"\0" * 200])
def test_broken_profile_is_ignored_with_a_note(mode, profile):
    image = picture().convert(mode)
    data = encoded(image, "TIFF" if mode == "CMYK" else "PNG", icc_profile=profile)
    read = read_image(data)
    assert distance(read.rgb, image.convert("RGB")) <= 1
    assert read.notes[-1] == "a colour profile that cannot be used, ignored"


def test_profile_for_another_kind_of_image_is_ignored_with_a_note():
    read = read_image(encoded(picture().convert("L"), "PNG", icc_profile=linear_profile()))
    assert distance(read.rgb, picture().convert("L").convert("RGB")) == 0
    assert read.notes == ("a colour profile that cannot be used, ignored",)


# What cannot be read

ADVICE = r"Choose a whole PNG, JPEG, WebP, TIFF, BMP or GIF file\.$"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the image is empty"),
        (b"\0", "the image is not an image that can be read"),
        (b"hello, this is a text", "not an image that can be read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image that can be read"),
        (encoded(picture(), "PPM"), "not an image that can be read"),
        (encoded(picture(), "ICO"), "not an image that can be read"),
        (encoded(picture(), "PNG")[:20], "the header of the image is damaged, cut off"),
        (png(0, 20), "header of the image is damaged, cut off, or speaks of no pixels"),
        (png(30, 0), "header of the image is damaged, cut off, or speaks of no pixels"),
        (encoded(picture(), "PNG")[:-200], "the image is damaged or cut off"),
        (encoded(picture(), "JPEG")[:-60], "the image is damaged or cut off"),
        (encoded(picture(), "WebP")[:-50], "the (header of the )?image is damaged"),
        (encoded(picture(), "BMP")[:-50], "the image is damaged or cut off"),
        (encoded(picture(), "TIFF")[:-50], "the (header of the )?image is damaged"),
        (encoded(picture(), "GIF")[:-400], "the image is damaged or cut off"),
        (png(30, 20, pixels=b"\0" * 100), "the image is damaged or cut off"),
    ],
)
def test_bytes_that_cannot_be_read(data, message):
    with pytest.raises(ImageError, match=message + r".*\. " + ADVICE):
        read_image(data)


def test_paths_that_cannot_be_read(tmp_path):
    with pytest.raises(ImageError, match=r"lost\.png does not exist\. " + ADVICE):
        read_image(tmp_path / "lost.png")
    with pytest.raises(ImageError, match=r" is a folder\. " + ADVICE):
        read_image(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match=r"empty\.png is empty\. " + ADVICE):
        read_image(str(tmp_path / "empty.png"))
    with pytest.raises(ImageError, match=ADVICE):
        read_image("a\0b.png")
    with pytest.raises(ImageError, match=ADVICE):
        read_image("x" * 5000)
    text = tmp_path / "notes.txt"
    text.write_text("not a picture")
    with pytest.raises(ImageError, match=r"notes\.txt is not an image"):
        read_image(text)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="is not an ordinary file"):
        read_image(tmp_path / "pipe.png")


def test_files_that_cannot_be_read():
    closed = io.BytesIO(b"")
    closed.close()
    with pytest.raises(ImageError, match=r"cannot be read \(I/O operation on closed file"):
        read_image(closed)
    with pytest.raises(TypeError, match="open as text: open it with mode 'rb'"):
        read_image(io.StringIO("text"))
    for source in (None, 3, picture()):
        with pytest.raises(TypeError, match=f"binary file, not {type(source).__name__}"):
            read_image(source)


def test_a_huge_file_is_not_read(monkeypatch):
    monkeypatch.setattr("course_lib.data.reading.MAX_BYTES", 100)

    class Endless:
        asked = 0

        def read(self, size):
            self.asked += size
            return b"\x89PNG\r\n\x1a\n" + b"\0" * (size - 8)

    endless = Endless()
    with pytest.raises(ImageError, match="more than 100 bytes, the most that is read"):
        read_image(endless)
    assert endless.asked == 101


# The limit on pixels


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WebP", "TIFF", "BMP", "GIF"])
def test_limit_on_pixels(kind):
    data = encoded(picture(), kind)
    assert read_image(data, max_pixels=600).rgb.size == (30, 20)
    message = r"30 x 20 pixels, more than the 599 allowed\. Make it smaller, .* raise max_pixels"
    with pytest.raises(ImageError, match=message):
        read_image(data, max_pixels=599)


def huge_gif():
    """Small to look at, but its first frame lies far outside."""
    data = bytearray(encoded(Image.new("L", (2, 2)), "GIF"))
    frame = data.index(b",", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    data[frame + 1 : frame + 9] = struct.pack("<4H", 10_000, 10_000, 2, 2)
    return bytes(data)


def huge_tile():
    """A TIFF of 30 x 20 pixels in one tile of 10,000 x 10,000."""
    tags = {256: 30, 257: 20, 258: 8, 259: 1, 262: 1, 277: 1}
    tags |= {322: 10_000, 323: 10_000, 324: 8, 325: 100}
    return tiff(tags)


@pytest.mark.parametrize(
    "data",
    [png(10_000, 10_000), png(2**31 - 1, 2**31 - 1), png(60_000, 60_000), huge_gif(), huge_tile()],
    ids=["100 megapixels", "sextillions", "3600 megapixels", "frame of a GIF", "tile of a TIFF"],
)
def test_bombs_are_refused_from_the_header(data):
    """Neither Pillow's error nor its warning comes out."""
    with (
        warnings.catch_warnings(record=True) as warned,
        pytest.raises(ImageError, match="more than the 50,000,000 allowed"),
    ):
        read_image(data)
    assert not warned


def test_the_limit_is_the_callers_and_not_pillows(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for kind in ("PNG", "JPEG", "BMP", "GIF"):
        assert read_image(encoded(picture(15, 10), kind)).rgb.size == (15, 10)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_nothing_global_is_left_behind():
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    read_image(encoded(picture(), "GIF"))
    with pytest.raises(ImageError):
        read_image(huge_gif())
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


@pytest.mark.parametrize("limit", [0, -1, 1.5, None, True])
def test_limits_that_are_none(limit):
    with pytest.raises(ValueError, match="max_pixels is a whole number of at least 1"):
        read_image(encoded(picture(), "PNG"), max_pixels=limit)


# Bytes that mean harm


def seeds():
    image, exif = picture(16, 12), Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "camera"
    profile = linear_profile()
    frames = {"save_all": True, "append_images": [image.rotate(180)]}
    return [
        encoded(image, "PNG", icc_profile=profile, exif=exif),
        encoded(image.quantize(8), "PNG", transparency=1),
        encoded(image, "PNG", **frames),
        encoded(Image.fromarray((DEEP * 65535).astype(np.uint16)), "PNG"),
        encoded(image, "JPEG", icc_profile=profile, exif=exif),
        encoded(image, "JPEG", progressive=True),
        encoded(image.convert("CMYK"), "JPEG"),
        encoded(image.convert("RGBA").rotate(20), "WebP", icc_profile=profile, exif=exif),
        encoded(image, "WebP", lossless=True, **frames),
        encoded(image, "TIFF", icc_profile=profile, exif=exif),
        encoded(image, "TIFF", compression="tiff_lzw", exif=exif),
        encoded(image, "TIFF", compression="jpeg", **frames),
        encoded(Image.fromarray(DEEP.astype(np.float32)), "TIFF"),
        encoded(image, "BMP"),
        encoded(image.quantize(16), "BMP"),
        encoded(image, "GIF", **frames),
        huge_gif(),
        huge_tile(),
    ]


SEEDS = seeds()
STARTS = [seed[:n] for seed in SEEDS for n in (4, 8, 16, 32)]
hurried = settings(deadline=timedelta(seconds=5), max_examples=300)


def survives(data) -> bool:
    """Whether it is an image, or an ImageError that says something, and nothing else."""
    try:
        read = read_image(data, max_pixels=1_000_000)
    except ImageError as error:
        return bool(str(error))
    return (
        read.rgb.mode == "RGB"
        and 0 < read.rgb.width * read.rgb.height <= 1_000_000
        and (read.alpha is None or read.alpha.size == read.rgb.size)
    )


@hurried
@given(st.binary(max_size=200))
def test_any_bytes(data):
    assert survives(data)


@hurried
@given(st.sampled_from(STARTS), st.binary(max_size=300))
def test_any_bytes_after_the_start_of_an_image(start, data):
    assert survives(start + data)


@hurried
@given(st.sampled_from(SEEDS), st.floats(0, 1))
def test_cut_off_anywhere(data, share):
    assert survives(data[: int(share * len(data))])


@hurried
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8),
    st.booleans(),
)
def test_bytes_changed(data, changes, near_the_start):
    """Half of the time among the first 64, where headers are."""
    changed = bytearray(data)
    reach = min(64, len(data)) if near_the_start else len(data)
    for share, value in changes:
        changed[int(share * reach)] = value
    assert survives(bytes(changed))


@hurried
@given(
    st.sampled_from(SEEDS),
    st.sampled_from(SEEDS),
    st.floats(0, 1),
    st.floats(0, 1),
    st.binary(max_size=20),
)
@example(SEEDS[0], SEEDS[4], 1.0, 0.0, b"")
def test_two_images_spliced(one, other, here, there, between):
    assert survives(one[: int(here * len(one))] + between + other[int(there * len(other)) :])


# Tensors


def test_tensor_by_hand():
    image = Image.new("RGB", (3, 2))
    image.putpixel((2, 1), (255, 51, 0))
    tensor = to_tensor(image)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 2, 3), torch.float32)
    assert tensor.is_contiguous()
    assert tensor[0, :, 1, 2].tolist() == [1, pytest.approx(0.2), 0]
    assert tensor.sum().item() == pytest.approx(1.2)


def test_there_and_back():
    levels = torch.arange(256).float().view(1, 1, 16, 16).expand(1, 3, 16, 16) / 255
    image = to_image(levels)
    assert (image.mode, image.size) == ("RGB", (16, 16))
    assert torch.equal(to_tensor(image), levels)
    assert distance(to_image(to_tensor(picture())), picture()) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rounding(dtype):
    values = torch.tensor([-0.4, 0.4, 0.6, 254.4, 254.6, 255.4]).view(1, 1, 1, 6) / 255
    image = to_image(values.expand(1, 3, 1, 6).to(dtype).requires_grad_())
    expected = [0, 0, 1, 254, 255, 255] if dtype != torch.bfloat16 else [0, 0, 1, 254, 254, 255]
    assert [image.getpixel((x, 0))[0] for x in range(6)] == pytest.approx(expected, abs=1)
    if dtype in (torch.float32, torch.float64):
        assert [image.getpixel((x, 0))[0] for x in range(6)] == expected


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 4, 4), r"one image \(1, 3, H, W\), not \(3, 4, 4\)"),
        (torch.zeros(2, 3, 4, 4), r"not \(2, 3, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4), r"not \(1, 1, 4, 4\)"),
        (torch.zeros(1, 3, 0, 4), r"not \(1, 3, 0, 4\)"),
        (
            torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
            r"floating point in \[0, 1\], not torch.uint8",
        ),
        (torch.full((1, 3, 4, 4), 1.01), r"in \[0, 1\], not from 1.01 to 1.01; clamp\(0, 1\)"),
        (torch.full((1, 3, 4, 4), -1.0), r"in \[0, 1\], not from -1 to -1"),
        (torch.full((1, 3, 4, 4), torch.nan), r"in \[0, 1\], not from nan to nan"),
        (torch.full((1, 3, 4, 4), torch.inf), r"in \[0, 1\], not from inf to inf"),
    ],
)
def test_tensors_that_are_no_image(images, message):
    with pytest.raises(ValueError, match=message):
        to_image(images)


def test_images_that_are_no_rgb():
    with pytest.raises(ValueError, match=r"not one of mode L and size 3 x 2; read_image"):
        to_tensor(Image.new("L", (3, 2)))
    with pytest.raises(ValueError, match="size 0 x 2"):
        to_tensor(Image.new("RGB", (0, 2)))
    with pytest.raises(TypeError, match="a Pillow image, not UserImage"):
        to_tensor(read_image(encoded(picture(), "PNG")))
