"""Files in ExVideo's layout for tiny checkpoints, made of named tensors."""

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from stillmotion.svd_model.adapters.exvideo import name_in_transformer
from stillmotion.svd_model.networks.unet import UNetParams
from support import golden_family, tiny

POSITIONS = 8


def tensors(params: UNetParams = tiny.SMALL.unet, positions: int = POSITIONS) -> dict[str, Tensor]:
    """Tensors of a file for a UNet: a block for each transformer, in the shapes of its width."""
    places = [place for place in params.places() if place.number is not None]
    return {
        f"blocks.{7 + 11 * place.number}.{name}": golden_family.NAMED.weight(
            f"exvideo.{place.number}.{name}", shape
        )
        for place in places
        for name, shape in _shapes(params.width(place.level), params.context_dim, positions).items()
    }


def write(path: Path, params: UNetParams = tiny.SMALL.unet, **changes: Tensor | None) -> Path:
    """Write a file; changes replace tensors, and None leaves a tensor out."""
    content = tensors(params) | changes
    save_file({key: value for key, value in content.items() if value is not None}, path)
    return path


def under_released_names(file: dict[str, Tensor], prefixes: list[str]) -> dict[str, Tensor]:
    """The tensors of a file by our names, for the transformers' prefixes in the order of the network."""
    numbers = sorted({int(key.split(".")[1]) for key in file})
    named = dict(zip(numbers, prefixes, strict=True))
    return {
        named[int(key.split(".")[1])] + name_in_transformer(key.split(".", 2)[2]): tensor
        for key, tensor in file.items()
    }


def _shapes(width: int, context: int, positions: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a block, from the block of the golden numbers: 32 channels, context 64, 8 positions."""
    sizes = {8: positions, 32: width, 64: context, 128: 4 * width, 256: 8 * width}
    return {
        name: tuple(sizes.get(size, size) for size in shape)
        for name, shape in golden_family.keys("tiny_exvideo_block").items()
    }
