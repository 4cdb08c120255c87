"""Diagrams for the templates that need a model file: python -m training.template_diagrams

Such a template can't run without its file, so its picture is a diagram of input and output instead of frames.
Sizes, number of frames and camera positions are the preset's.
"""

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from stillmotion.clips.conditions import orbit_azimuths
from stillmotion.clips.presets import EXVIDEO, MOTIONCTRL, SV3D, SVD, SVD_XT, Preset

ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT = 512, 288
FINE = 4  # factor of drawing larger and then reducing, for smooth edges
GROUND, FAINT, LINE, MARK, WORDS = "#16202b", "#2b3d4d", "#5f7d95", "#f2b134", "#e8eef3"


def main() -> None:
    """Writes a diagram beside each of these templates."""
    for name, picture in drawn().items():
        picture.save(ROOT / "example_workflows" / f"{name}.jpg", quality=90)


def drawn() -> dict[str, Image.Image]:
    """Draws the diagrams, keyed by template."""
    return {
        "2 First video with SVD-XT": clip(SVD_XT),
        "8 SV3D orbit": orbit(SV3D),
        "9 Parts of several files": parts(),
        "10 ControlNet": control(SVD),
        "11 MotionCtrl camera": zoom(MOTIONCTRL),
        "12 LoRA": lora(),
        "13 ExVideo": many(EXVIDEO),
    }


def clip(preset: Preset) -> Image.Image:
    """Draws the photograph, an arrow and an empty box for each frame of the video."""
    picture, draw = _canvas()
    _photograph(picture, preset, (16, 80), 180)
    _arrow(draw, 204, 130)
    _frames(draw, preset, 234, 50)
    _words(draw, 106, 200, "your picture")
    _words(draw, 364, 234, f"{preset.num_frames} frames, {preset.width} by {preset.height}")
    return _reduced(picture)


def control(preset: Preset) -> Image.Image:
    """Draws the photograph over a depth map, with an arrow to an empty box for each frame of the video."""
    picture, draw = _canvas()
    _photograph(picture, preset, (36, 20), 140)
    _words(draw, 106, 115, "your picture")
    for step in range(24):  # from far, dark, to near
        shade = 40 + 8 * step
        _box(draw, (36, 148 + 3.3 * step, 176, 151.3 + 3.3 * step), (shade,) * 3, (shade,) * 3)
    _shape(draw, [(90, 222), (94, 172), (106, 152), (118, 172), (122, 222)], "#ffffff")
    _words(draw, 106, 247, "its depth")
    _arrow(draw, 204, 130)
    _frames(draw, preset, 261, 50)
    _words(draw, 364, 234, f"{preset.num_frames} frames that keep to it")
    return _reduced(picture)


def orbit(preset: Preset) -> Image.Image:
    """Draws a rocket, seen a little from above, and the camera positions around it.

    The position in front is the view of the input picture, which is the last frame.
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
    for place in sorted(places, key=lambda place: place[1]):  # from back to front
        if place == places[-1]:
            _rocket(draw, *middle)
        _camera(draw, place, middle, MARK if place == places[-1] else LINE)
    _words(draw, 256, 228, "your picture", MARK)
    _words(draw, 256, 258, f"{preset.num_frames} views, {preset.width} by {preset.height}, once around")
    return _reduced(picture)


def _photograph(picture: Image.Image, preset: Preset, corner: tuple[int, int], width: int) -> None:
    """Pastes the photograph in the shape of the preset's canvas."""
    photograph = Image.open(ROOT / "assets" / "rocket.jpg").convert("RGB")
    scale = min(photograph.width / preset.width, photograph.height / preset.height)
    wide, high = round(scale * preset.width), round(scale * preset.height)
    left, top = (photograph.width - wide) // 2, (photograph.height - high) // 2
    photograph = photograph.crop((left, top, left + wide, top + high))
    size = (width * FINE, width * preset.height // preset.width * FINE)
    picture.paste(photograph.resize(size, Image.Resampling.LANCZOS), tuple(value * FINE for value in corner))


def _frames(draw: ImageDraw.ImageDraw, preset: Preset, left: int, top: int) -> None:
    """Draws an empty box for each frame, in rows."""
    columns = math.ceil(math.sqrt(preset.num_frames))
    for frame in range(preset.num_frames):
        x, y = left + frame % columns * 53, top + frame // columns * 33
        _box(draw, (x, y, x + 48, y + 27), FAINT, LINE)


def zoom(preset: Preset) -> Image.Image:
    """Draws the photograph with the frame that a camera sees at each frame on its way ahead."""
    picture, draw = _canvas()
    width, height = 364, 364 * preset.height // preset.width
    left, top = (WIDTH - width) // 2, 14
    _photograph(picture, preset, (left, top), width)
    for frame in range(preset.num_frames):
        inset = 0.6 * frame / (preset.num_frames - 1) / 2
        corners = (left + inset * width, top + inset * height)
        ends = (left + (1 - inset) * width, top + (1 - inset) * height)
        fill = MARK if frame == preset.num_frames - 1 else LINE
        draw.rectangle([value * FINE for value in (*corners, *ends)], outline=fill, width=FINE)
    _words(
        draw, 256, 258, f"{preset.num_frames} frames, {preset.width} by {preset.height}, the camera moves in"
    )
    return _reduced(picture)


def parts() -> Image.Image:
    """Draws three files, and the model that their parts make."""
    picture, draw = _canvas()
    for row, words in enumerate(("UNet", "VAE", "image tower")):
        y = 34 + 70 * row
        _box(draw, (60, y, 200, y + 48), FAINT, MARK if row == 0 else LINE)
        _words(draw, 130, y + 24, words, MARK if row == 0 else WORDS)
        _arrow(draw, 214, y + 24)
    _box(draw, (256, 34, 452, 222), FAINT, LINE)
    _words(draw, 354, 128, "one model")
    _words(draw, 256, 258, "each part from a file of its own, in any naming")
    return _reduced(picture)


def lora() -> Image.Image:
    """Draws a weight as a square of cells, and the two thin factors that are added to it."""
    picture, draw = _canvas()
    for row in range(8):
        for column in range(8):
            x, y = 52 + 17 * column, 62 + 17 * row
            _box(draw, (x, y, x + 15, y + 15), FAINT, LINE)
    for step in range(8):
        _box(draw, (270, 62 + 17 * step, 285, 77 + 17 * step), MARK, GROUND)
        _box(draw, (316 + 17 * step, 122, 331 + 17 * step, 137), MARK, GROUND)
    _words(draw, 229, 130, "+")
    _words(draw, 300, 130, "x")
    _words(draw, 120, 222, "a layer of svd_xt")
    _words(draw, 356, 222, "your LoRA, times its strength", MARK)
    _words(draw, 256, 258, "within a frame: the look; over time: the motion")
    return _reduced(picture)


def many(preset: Preset) -> Image.Image:
    """Draws the photograph, with an arrow to a small box for each frame of a long video."""
    picture, draw = _canvas()
    _photograph(picture, preset, (36, 56), 140)
    _words(draw, 106, 216, "your picture")
    _arrow(draw, 204, 126)
    for frame in range(preset.num_frames):
        x, y = 256 + frame % 16 * 14, 70 + frame // 16 * 14
        _box(draw, (x, y, x + 11, y + 11), FAINT, LINE)
    _words(draw, 366, 216, f"{preset.num_frames} frames", MARK)
    _words(draw, 256, 258, f"{preset.width} by {preset.height}, {preset.fps:g} a second")
    return _reduced(picture)


def _canvas() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), GROUND)
    return picture, ImageDraw.Draw(picture)


def _reduced(picture: Image.Image) -> Image.Image:
    return picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _box(draw: ImageDraw.ImageDraw, corners: tuple, fill: str | tuple, outline: str | tuple) -> None:
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
    """Draws a dot with a cone of sight towards the target."""
    x, y = place
    angle = math.atan2(target[1] - y, target[0] - x)
    cone = [(x + 17 * math.cos(angle + turn), y + 17 * math.sin(angle + turn)) for turn in (-0.35, 0.35)]
    _shape(draw, [place, *cone], fill)
    draw.ellipse([value * FINE for value in (x - 5, y - 5, x + 5, y + 5)], fill=fill)


def _rocket(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    """Draws an upright rocket, its middle a little above the point."""
    _shape(draw, [(x - 13, y + 8), (x - 30, y + 36), (x - 13, y + 28)], MARK)
    _shape(draw, [(x + 13, y + 8), (x + 30, y + 36), (x + 13, y + 28)], MARK)
    hull = [(x - 13, y + 30), (x - 15, y - 20), (x, y - 72), (x + 15, y - 20), (x + 13, y + 30)]
    _shape(draw, hull, WORDS)
    _shape(draw, [(x, y - 72), (x + 15, y - 20), (x + 13, y + 30), (x, y + 30)], "#b9c6d0")
    draw.ellipse([value * FINE for value in (x - 6, y - 24, x + 6, y - 12)], fill=LINE)


if __name__ == "__main__":
    main()
