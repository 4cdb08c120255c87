"""Frames of a clip as files in the host's temporary folder, for the page to show."""

import math

import folder_paths
from PIL import Image
from torch import Tensor

_PREFIX = "stillmotion_clip"


def clip_in_page(label: str, images: Tensor, fps: float) -> dict:
    """What the page needs of a clip, (T, H, W, 3 or 4) in [0, 1]; writes its frames, without loss."""
    height, width = images.shape[1:3]
    place = folder_paths.get_save_image_path(_PREFIX, folder_paths.get_temp_directory(), width, height)
    folder, name, counter, subfolder, _ = place
    digits = math.ceil(math.log10(len(images) + 1))
    frames = []
    for number, pixels in enumerate(images[..., :3]):
        # The host counts on from the number between the name and the next underscore.
        file = f"{name}_{counter:05}_{label}{number:0{digits}}.webp"
        levels = pixels.clamp(0, 1).mul(255).round().byte().cpu().numpy()
        Image.fromarray(levels).save(f"{folder}/{file}", lossless=True, quality=0, method=0)
        frames.append({"filename": file, "subfolder": subfolder, "type": "temp"})
    return {"label": label, "fps": fps, "width": width, "height": height, "frames": frames}
