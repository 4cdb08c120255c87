"""Training pictures, (size, size, 3) uint8: crops of photographs, textures, shapes.

All random numbers come from the generator that is passed in.
"""

import math

import numpy as np
from PIL import Image, ImageDraw

from . import photographs

PROCEDURAL, COLLAGES = 0.15, 0.3
"""Share of scenes without a photograph, and share of the others with shapes from other photographs."""


def scene(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draws a scene."""
    if rng.random() < PROCEDURAL:
        picture = texture(rng, size)
        return with_shapes(rng, picture, int(rng.integers(1, 6))) if rng.random() < 0.6 else picture
    picture = recoloured(rng, photograph(rng, size))
    return collage(rng, picture) if rng.random() < COLLAGES else picture


def photograph(rng: np.random.Generator, size: int, held_out: bool = False) -> np.ndarray:
    """Draws a square crop of a photograph at a random scale, reduced with Lanczos like an input picture."""
    pictures, weights = photographs.load(held_out)
    picture = pictures[rng.choice(len(pictures), p=weights)]
    longest = min(picture.size)
    shortest = min(longest, max(size, longest // 3))
    side = math.exp(rng.uniform(math.log(shortest), math.log(longest)))
    left, top = rng.uniform(0, picture.width - side), rng.uniform(0, picture.height - side)
    box = (left, top, left + side, top + side)
    crop = np.array(picture.resize((size, size), Image.Resampling.LANCZOS, box=box))
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def recoloured(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Tints a grey picture, and changes the contrast and colour balance of half of the others."""
    pixels = picture.astype(np.float32) / 255
    if np.abs(pixels - pixels.mean(axis=2, keepdims=True)).max() < 0.02:
        dark, light = rng.uniform(0, 0.35, 3), rng.uniform(0.6, 1, 3)
        pixels = dark + pixels * (light - dark)
    elif rng.random() < 0.5:
        gain, lift = rng.uniform(0.75, 1.2, 3), rng.uniform(-0.08, 0.08, 3)
        pixels = pixels * gain + lift
    return (np.clip(pixels, 0, 1) * 255).round().astype(np.uint8)


def texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draws octave noise, stripes, a chequer or a gradient, in two colours."""
    kind = rng.integers(4)
    if kind == 0:
        field = octaves(rng, size)
    else:
        angle, period = rng.uniform(0, math.pi), size * math.exp(rng.uniform(math.log(0.06), math.log(0.5)))
        y, x = np.mgrid[:size, :size].astype(np.float32)
        along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        wave = np.sin(2 * math.pi * along / period)
        if kind == 1:
            wave = wave * np.sin(2 * math.pi * across / period)
        sharpness = rng.uniform(1, 8)
        field = (
            along / (2 * size) if kind == 3 else 0.5 + 0.5 * np.tanh(sharpness * wave) / math.tanh(sharpness)
        )
        field = field + rng.uniform(0, 0.4) * (octaves(rng, size) - 0.5)
    first, second = rng.uniform(0, 1, (2, 3))
    pixels = first + np.clip(field, 0, 1)[..., None] * (second - first)
    return (pixels * 255).round().astype(np.uint8)


def octaves(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draws smooth noise in [0, 1], (size, size); each octave is finer and weaker than the previous one."""
    persistence, total = rng.uniform(0.35, 0.65), np.zeros((size, size), np.float32)
    for octave in range(int(rng.integers(3, 6))):
        cells = 3 * 2**octave
        grid = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
        total += persistence**octave * np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))
    low, high = total.min(), total.max()
    return (total - low) / (high - low)


def with_shapes(rng: np.random.Generator, picture: np.ndarray, number: int) -> np.ndarray:
    """Draws discs, boxes and triangles over a picture, each in one colour and with smooth edges."""
    size, scale = picture.shape[0], 2
    image = Image.fromarray(picture).resize((scale * size, scale * size), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    for _ in range(number):
        draw_shape(rng, draw, scale * size, tuple(int(level) for level in rng.integers(0, 256, 3)))
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def collage(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Draws shapes cut from other photographs over a picture: many edges from few photographs."""
    size, scale = picture.shape[0], 2
    for _ in range(int(rng.integers(1, 5))):
        mask = Image.new("L", (scale * size, scale * size))
        draw_shape(rng, ImageDraw.Draw(mask), scale * size, 255)
        weight = np.asarray(mask.resize((size, size), Image.Resampling.BOX), np.float32)[..., None] / 255
        other = recoloured(rng, photograph(rng, size))
        picture = (picture + weight * (other.astype(np.float32) - picture)).round().astype(np.uint8)
    return picture


def draw_shape(rng: np.random.Generator, draw: ImageDraw.ImageDraw, size: int, colour) -> None:
    """Draws one shape with a radius from a twentieth to a quarter of the picture's side."""
    x, y = rng.uniform(0, size, 2)
    radius = size * rng.uniform(0.05, 0.25)
    kind = rng.integers(3)
    if kind == 0:
        draw.ellipse((x - radius, y - radius * 0.8, x + radius, y + radius * 0.8), fill=colour)
        return
    corners, turn = 3 + kind, rng.uniform(0, 2 * math.pi)
    angles = [turn + 2 * math.pi * corner / corners for corner in range(corners)]
    draw.polygon([(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles], fill=colour)
