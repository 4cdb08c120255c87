"""The pictures of the templates that need a file to run, drawn: python -m training.template_diagrams

Neither could be run for its picture, so it shows what goes in and what comes out, and no frame of it. The
sizes, the number of frames and the places of the camera are the preset's.
"""

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from stillmotion.clips.presets import SV3D, SVD_XT, Preset
from stillmotion.svd_model.networks.conditioning import orbit_azimuths

ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT = 512, 288
FINE = 4  # drawn larger, then reduced: smooth edges
GROUND, FAINT, LINE, MARK, WORDS = "#16202b", "#2b3d4d", "#5f7d95", "#f2b134", "#e8eef3"


def main() -> None:
    """Writes a picture beside each of the two templates."""
    for name, picture in drawn().items():
        picture.save(ROOT / "example_workflows" / f"{name}.jpg", quality=90)


def drawn() -> dict[str, Image.Image]:
    """The pictures by the names of their templates."""
    return {"2 First video with SVD-XT": clip(SVD_XT), "8 SV3D orbit": orbit(SV3D)}


def clip(preset: Preset) -> Image.Image:
    """The photograph, an arrow, and as many empty frames as the video has."""
    picture, draw = _canvas()
    photograph = Image.open(ROOT / "assets" / "rocket.jpg").convert("RGB")
    height = round(photograph.width * preset.height / preset.width)
    top = (photograph.height - height) // 2
    photograph = photograph.crop((0, top, photograph.width, top + height))
    picture.paste(
        photograph.resize((180 * FINE, 101 * FINE), Image.Resampling.LANCZOS), (16 * FINE, 80 * FINE)
    )
    _arrow(draw, 204, 130)
    columns = math.isqrt(preset.num_frames)
    for frame in range(preset.num_frames):
        x, y = 234 + frame % columns * 53, 50 + frame // columns * 33
        _box(draw, (x, y, x + 48, y + 27), FAINT, LINE)
    _words(draw, 106, 200, "your picture")
    _words(draw, 364, 234, f"{preset.num_frames} frames, {preset.width} by {preset.height}")
    return _reduced(picture)


def orbit(preset: Preset) -> Image.Image:
    """A rocket, seen a little from above, and the places of the camera around it.

    In front is the picture's own view, the last frame.
    """
    picture, draw = _canvas()
    middle, half_width, half_height = (256, 132), 190, 74
    angles = [math.radians(degrees) for degrees in orbit_azimuths(preset.num_frames)]
    places = [
        (middle[0] + half_width * math.sin(angle), middle[1] + half_height * math.cos(angle))
        for angle in angles
    ]
    edge = (middle[0] - half_width, middle[1] - half_height, middle[0] + half_width, middle[1] + half_height)
    draw.ellipse([value * FINE for value in edge], outline=FAINT, width=2 * FINE)
    for place in sorted(places, key=lambda place: place[1]):  # what is in front is drawn over what is behind
        if place == places[-1]:
            _rocket(draw, *middle)
        _camera(draw, place, middle, MARK if place == places[-1] else LINE)
    _words(draw, 256, 228, "your picture", MARK)
    _words(draw, 256, 258, f"{preset.num_frames} views, {preset.width} by {preset.height}, once around")
    return _reduced(picture)


def _canvas() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), GROUND)
    return picture, ImageDraw.Draw(picture)


def _reduced(picture: Image.Image) -> Image.Image:
    return picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _box(draw: ImageDraw.ImageDraw, corners: tuple, fill: str, outline: str) -> None:
    draw.rectangle([value * FINE for value in corners], fill=fill, outline=outline, width=FINE)


def _shape(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], fill: str) -> None:
    draw.polygon([(x * FINE, y * FINE) for x, y in points], fill=fill)


def _words(draw: ImageDraw.ImageDraw, x: float, y: float, words: str, fill: str = WORDS) -> None:
    font = ImageFont.load_default(size=15 * FINE)
    draw.text((x * FINE, y * FINE), words, font=font, fill=fill, anchor="mm")


def _arrow(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    head = [(x + 12, y - 9), (x + 23, y), (x + 12, y + 9)]
    _shape(draw, [(x, y - 3), (x + 12, y - 3), *head, (x + 12, y + 3), (x, y + 3)], MARK)


def _camera(draw: ImageDraw.ImageDraw, place: tuple, target: tuple, fill: str) -> None:
    """A dot with a cone of sight towards the target."""
    x, y = place
    angle = math.atan2(target[1] - y, target[0] - x)
    cone = [(x + 17 * math.cos(angle + turn), y + 17 * math.sin(angle + turn)) for turn in (-0.35, 0.35)]
    _shape(draw, [place, *cone], fill)
    draw.ellipse([value * FINE for value in (x - 5, y - 5, x + 5, y + 5)], fill=fill)


def _rocket(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    """Standing upright, with its middle a little above the point."""
    _shape(draw, [(x - 13, y + 8), (x - 30, y + 36), (x - 13, y + 28)], MARK)
    _shape(draw, [(x + 13, y + 8), (x + 30, y + 36), (x + 13, y + 28)], MARK)
    hull = [(x - 13, y + 30), (x - 15, y - 20), (x, y - 72), (x + 15, y - 20), (x + 13, y + 30)]
    _shape(draw, hull, WORDS)
    _shape(draw, [(x, y - 72), (x + 15, y - 20), (x + 13, y + 30), (x, y + 30)], "#b9c6d0")
    draw.ellipse([value * FINE for value in (x - 6, y - 24, x + 6, y - 12)], fill=LINE)


if __name__ == "__main__":
    main()
