"""Drawn pages of text, lines and shapes: what photographs hold little of, and people enlarge."""

import random
import string

from PIL import Image, ImageDraw, ImageFont

SIDE = 512  # pixels of a finished page
FINER = 2  # drawn so many times as large, and reduced: edges then fall between pixels


def drawn_page(number: int) -> Image.Image:
    """Return the page of this number, RGB of ``SIDE`` by ``SIDE`` pixels; always the same.

    Words are random letters and digits in the font that comes with Pillow.
    """
    rng = random.Random(number)
    side = SIDE * FINER
    paper, ink = colours(rng)
    page = Image.new("RGB", (side, side), paper)
    draw = ImageDraw.Draw(page)
    for _ in range(rng.randrange(8)):
        draw_shape(draw, rng, side)
    down = 0
    while down < side:
        size = FINER * rng.choice((9, 11, 13, 16, 20, 28, 40))
        if rng.random() < 0.8:
            colour = ink if rng.random() < 0.8 else colours(rng)[1]
            font = ImageFont.load_default(size)
            draw.text((rng.randrange(side // 4), down), words(rng), fill=colour, font=font)
        down += round(size * rng.uniform(1.1, 1.6))
    return page.reduce(FINER)


def colours(rng: random.Random) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return a light and a dark colour, in any order; often they are white and black."""
    if rng.random() < 0.4:
        light, dark = (255, 255, 255), (0, 0, 0)
    else:
        light = tuple(rng.randrange(160, 256) for _ in range(3))
        dark = tuple(rng.randrange(0, 120) for _ in range(3))
    return (light, dark) if rng.random() < 0.75 else (dark, light)


def words(rng: random.Random) -> str:
    """Return a line of invented words."""
    letters = rng.choice((string.ascii_lowercase, string.ascii_letters, string.ascii_uppercase))
    made = ("".join(rng.choices(letters, k=rng.randrange(1, 10))) for _ in range(30))
    return " ".join(word if rng.random() < 0.9 else str(rng.randrange(10_000)) for word in made)


def draw_shape(draw: ImageDraw.ImageDraw, rng: random.Random, side: int) -> None:
    """Draw a rectangle, an ellipse, a line or a comb of parallel lines."""
    (left, right), (top, bottom) = (sorted(rng.choices(range(side), k=2)) for _ in range(2))
    colour, width = rng.choice(colours(rng)), rng.randrange(1, 12)
    kind = rng.randrange(4)
    if kind == 0:
        draw.rectangle((left, top, right, bottom), fill=colour)
    elif kind == 1:
        draw.ellipse((left, top, right, bottom), outline=colour, width=width)
    elif kind == 2:
        draw.line((left, top, right, bottom), fill=colour, width=width)
    else:
        for along in range(left, right, 2 * width + rng.randrange(2, 12)):
            draw.line((along, top, along + (bottom - top) // 3, bottom), fill=colour, width=width)
