"""Reading a user's image safely, and going between Pillow's images and tensors."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageCms, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from .degradation import upscale

# How a file begins, and the reader that Pillow has for it. Image.open is not used: it has a
# limit of its own, the same for the whole process, which shows as a warning.
_READERS: dict[str, tuple[bytes, type[ImageFile.ImageFile]]] = {
    "PNG": (rb"\x89PNG\r\n\x1a\n", PngImageFile),
    "JPEG": (rb"\xff\xd8\xff", JpegImageFile),
    "WebP": (rb"RIFF....WEBP", WebPImageFile),
    "TIFF": (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", TiffImageFile),
    "BMP": (rb"BM", BmpImageFile),
    "GIF": (rb"GIF8[79]a", GifImageFile),
}
FORMATS = tuple(_READERS)
MAX_BYTES = 2**30
_EXPECTED = f"Choose a whole {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file."

# What brings a picture upright, by EXIF's orientation.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(ValueError):
    """An image cannot be read; the message says what was wrong and what to do."""


@dataclass(frozen=True, eq=False)
class UserImage:
    """A user's image, ready for a network.

    ``rgb`` is a Pillow image of mode RGB in sRGB, upright, its transparent parts on white;
    ``alpha`` is one of mode L and the same size (255 where opaque), or None where nothing is
    transparent; ``format`` is one of ``FORMATS``; ``notes`` says in words what was done.
    """

    rgb: Image.Image
    alpha: Image.Image | None
    format: str
    notes: tuple[str, ...]


def read_image(
    source: str | os.PathLike | bytes | BinaryIO, *, max_pixels: int = 50_000_000
) -> UserImage:
    """Read a PNG, JPEG, WebP, TIFF, BMP or GIF image from a path, bytes or a binary file.

    Of an animation this is the first frame. The camera's orientation is applied, a colour
    profile is turned into sRGB, and all else becomes 8-bit RGB; a profile or EXIF data that
    cannot be read are ignored, with a note. ``max_pixels`` is checked from the header, before
    anything is decoded; a file of more than ``MAX_BYTES`` is not read at all.

    Raises :class:`ImageError` where there is no such file, or what it holds is no such image,
    is damaged, cut off or too large, and ``TypeError`` for any other kind of source.
    """
    if isinstance(max_pixels, bool) or not isinstance(max_pixels, int) or max_pixels < 1:
        raise ValueError(f"max_pixels is a whole number of at least 1, not {max_pixels!r}")
    data, name = _content(source)
    kind = next((k for k, (start, _) in _READERS.items() if re.match(start, data, re.S)), None)
    if kind is None:
        raise ImageError(f"{name} is not an image that can be read. {_EXPECTED}")
    with _trying(f"the header of {name} is damaged, cut off, or speaks of no pixels"):
        image = _open(kind, data)
        size, tile = image.size, (0, 0)
        if kind == "TIFF":
            tile = image.tag_v2.get(322, 0), image.tag_v2.get(323, 0)
            _check_pixels(tile, max_pixels, f"a tile of {name}")
    _check_pixels(size, max_pixels, name)

    notes: list[str] = []
    orientation = _orientation(image, notes) if kind == "TIFF" else None
    deep = any(";16" in str(part[3]) for part in image.tile)
    with _trying(f"{name} is damaged or cut off"):
        image.load()
    if orientation is None:
        orientation = _orientation(image, notes)
    _note_frames(image, notes)
    with _trying(f"the colours of {name} cannot be converted"):
        rgb, alpha = _colours(image, deep, notes)
        if alpha is not None:
            rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
            notes.append("transparent parts on white")
    if (turn := _TURNS.get(orientation)) is not None:
        notes.append("turned as the camera says")
        if kind != "TIFF":  # which Pillow turns while it decodes
            rgb = rgb.transpose(turn)
            alpha = alpha.transpose(turn) if alpha is not None else None
    return UserImage(rgb, alpha, kind, tuple(notes))


def to_tensor(image: Image.Image) -> torch.Tensor:
    """Return a Pillow image of mode RGB as float32 (1, 3, H, W) in [0, 1]."""
    if not isinstance(image, Image.Image):
        raise TypeError(f"to_tensor takes a Pillow image, not {type(image).__name__}")
    if image.mode != "RGB" or 0 in image.size:
        raise ValueError(
            f"to_tensor takes an RGB image with pixels, not one of mode {image.mode} and size "
            f"{image.width} x {image.height}; read_image(...).rgb is one"
        )
    levels = torch.from_numpy(np.array(image))
    return levels.permute(2, 0, 1)[None].contiguous().float().div_(255)


def to_image(images: torch.Tensor) -> Image.Image:
    """Return one image (1, 3, H, W) in [0, 1] as a Pillow image, rounded to 8 bits.

    Raises ``ValueError`` for another shape or type, and where a value is not a number or lies
    outside [0, 1] by half a level or more: clamp it first if that is meant.
    """
    if images.ndim != 4 or images.shape[:2] != (1, 3) or 0 in images.shape:
        raise ValueError(f"to_image takes one image (1, 3, H, W), not {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"to_image takes floating point in [0, 1], not {images.dtype}")
    levels = images.detach()[0].permute(1, 2, 0).float().mul(255).round()
    low, high = (bound.item() for bound in levels.aminmax())
    if not (low >= 0 and high <= 255):
        raise ValueError(
            f"to_image takes values in [0, 1], not from {low / 255:.3g} to {high / 255:.3g}; "
            "clamp(0, 1) if that is meant"
        )
    return Image.fromarray(levels.to(torch.uint8).cpu().numpy())


def _content(source: str | os.PathLike | bytes | BinaryIO) -> tuple[bytes, str]:
    """Return the bytes of a source, and what to call it in a message."""
    if isinstance(source, bytes | bytearray | memoryview):
        data, name = bytes(source), "the image"
    elif isinstance(source, str | os.PathLike):
        name = str(source)
        with _trying(f"{name} cannot be read"):
            path = Path(source)
            if not path.exists():
                raise ImageError(f"{name} does not exist. {_EXPECTED}")
            if not path.is_file():
                what = "a folder" if path.is_dir() else "not an ordinary file"
                raise ImageError(f"{name} is {what}. {_EXPECTED}")
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    elif callable(getattr(source, "read", None)):
        name = "the image"
        with _trying(f"{name} cannot be read"):
            data = source.read(MAX_BYTES + 1)
        if not isinstance(data, bytes):
            raise TypeError("the file is open as text: open it with mode 'rb'")
    else:
        raise TypeError(
            f"read_image takes a path, bytes or a binary file, not {type(source).__name__}"
        )
    if not data:
        raise ImageError(f"{name} is empty. {_EXPECTED}")
    if len(data) > MAX_BYTES:
        raise ImageError(
            f"{name} has more than {MAX_BYTES:,} bytes, the most that is read. "
            "Make it smaller, or save it in a compressed format."
        )
    return data, name


@contextmanager
def _trying(problem: str) -> Iterator[None]:
    """Turn whatever a damaged file makes Pillow raise into an :class:`ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"{problem}: it does not fit into memory. Use a smaller one.") from error
    except Exception as error:  # nearly any: struct.error, SyntaxError, KeyError, OSError ...
        reason = str(error) or type(error).__name__
        raise ImageError(f"{problem} ({reason}). {_EXPECTED}") from error


def _open(kind: str, data: bytes) -> ImageFile.ImageFile:
    """Read the header."""
    with warnings.catch_warnings():  # given for a GIF's first frame; max_pixels is our limit
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return _READERS[kind][1](BytesIO(data))


def _check_pixels(size: tuple[int, int], max_pixels: int, name: str) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has {width} x {height} pixels, more than the {max_pixels:,} allowed. "
            "Make it smaller, cut out a part, or raise max_pixels."
        )


def _orientation(image: ImageFile.ImageFile, notes: list[str]) -> int:
    try:
        if exif := image.info.get("exif"):
            Image.Exif().load(exif)  # Pillow reports what is damaged the first time only
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # as damaged files have it
        notes.append("EXIF data that cannot be read, ignored")
        return 1


def _note_frames(image: ImageFile.ImageFile, notes: list[str]) -> None:
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception:  # a later frame is damaged, which does not matter here
        frames = "several"
    if frames != 1:
        notes.append(f"first frame of {frames}")


def _colours(
    image: Image.Image, deep: bool, notes: list[str]
) -> tuple[Image.Image, Image.Image | None]:
    """Return RGB in sRGB, and the alpha channel where something is transparent.

    ``deep`` says that the file has 16 bits where Pillow has kept 8.
    """
    profile = image.info.get("icc_profile")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_grey(image, notes)
    elif deep:
        notes.append("16 bits reduced to 8")
    if image.mode in ("La", "RGBa"):  # multiplied by alpha
        image = image.convert(image.mode.upper())

    alpha = None
    grey = image.mode in ("1", "L", "LA")
    # A transparent colour of 16 bits is none of the 8-bit colours.
    if image.mode in ("LA", "PA", "RGBA") or ("transparency" in image.info and not deep):
        with_alpha = image.convert("RGBA")
        alpha = with_alpha.getchannel("A")
        if alpha.getextrema() == (255, 255):
            alpha = None
        image = image if grey else with_alpha
    if image.mode == "LAB":
        image = _to_srgb(image, ImageCms.createProfile("LAB"))
        notes.append("converted from Lab")
        return image, alpha
    if image.mode == "CMYK":
        notes.append("converted from CMYK")
    else:
        image = image.convert("L" if grey else "RGB")
    if profile:
        try:
            own = ImageCms.ImageCmsProfile(BytesIO(profile))
            name = ImageCms.getProfileDescription(own).strip()
            if image.mode != "RGB" or not name.startswith("sRGB"):
                image = _to_srgb(image, own)
                notes.append(f"colour profile {name or 'without a name'} turned into sRGB")
        except Exception:  # damaged, or for another kind of image
            notes.append("a colour profile that cannot be used, ignored")
    return image.convert("RGB"), alpha


def _to_srgb(image: Image.Image, profile) -> Image.Image:
    return ImageCms.profileToProfile(
        image,
        profile,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _to_grey(image: Image.Image, notes: list[str]) -> Image.Image:
    """Reduce one channel of 16 or 32 bits, whole numbers or floating point, to mode L."""
    values = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0, neginf=0)
    low, high = values.min().item(), values.max().item()
    if image.mode.startswith("I;16") or image.format == "PNG":
        top, note = 65535, "16 bits reduced to 8"
    elif low >= 0 and high <= 1 and image.mode == "F":
        top, note = 1, "floating point, 0 as black and 1 as white"
    elif low >= 0 and high <= 255:
        top, note = 255, "numbers of more than 8 bits, 0 as black and 255 as white"
    elif low >= 0 and high <= 65535:
        top, note = 65535, "16 bits reduced to 8"
    else:
        note = f"numbers of more than 8 bits, {low:g} as black and {high:g} as white"
        values, top = values.astype(np.float64) - low, high - low or 1
    notes.append(note)
    return Image.fromarray((values * (255 / top)).round().astype(np.uint8))


def with_alpha(large: Image.Image, alpha: Image.Image, scale: int) -> Image.Image:
    """Return an enlargement with the transparency of the image, enlarged bicubically.

    What was enlarged lay on white. The white is taken out again, so that the result, laid on
    white, is the enlargement, and on other colours has no white seam.
    """
    small = to_tensor(Image.merge("RGB", [alpha] * 3))
    shares = upscale(small, scale, clip=True)
    colours = (to_tensor(large) - (1 - shares)) / shares.clamp(min=1 / 255)
    result = to_image(torch.where(shares > 0, colours.clamp(0, 1), 1.0))
    result.putalpha(to_image(shares).getchannel(0))
    return result
