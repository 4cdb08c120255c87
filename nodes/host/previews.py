"""Progress with a picture of the clip, while it is sampled.

With a small decoder among the host's vae_approx files the picture has all frames, decoded; without one it has
up to nine, in the colours of the latents.
"""

import functools
import itertools
import logging
import math
import re
from collections.abc import Callable
from pathlib import PurePath

import comfy.model_management
import comfy.utils
import folder_paths
import latent_preview
import torch
from comfy.cli_args import LatentPreviewMethod, args
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ...svd_model.checkpoint import CheckpointError
from ...svd_model.checkpoint.small_decoders import open_small_decoder
from ...svd_model.networks.taesd import SCALE, SmallDecoder

MOST_WITHOUT_DECODER = 9
LEAST_REDUCTION = 3
"""Latents are averaged over squares of at least this side before a preview decodes them.

A decoded frame is still larger than it is shown, and takes a ninth of the time: for 25 frames of 1024×576
TAESDV adds 0.8 % to the operations of a guided step, TAESD 0.6 %.
"""

MOST_IN_FRAME, MOST_IN_CLIP = 2**12, 2**15
"""Positions of latents that a preview decodes at most: they bound its memory and its time."""

_FOLDER = "vae_approx"
_LATENTS = "taesd_decoder"  # the host's name for the small decoder of Stable Diffusion 1's latents, and SVD's
_NAMES = (r"taesdv", r"taesd_decoder", r"taesd(?![a-z0-9])(?![-_ ]?xl)")
"""Names of files, the preferred first. SDXL's decoder is of the same shapes, but for other latents."""


def preview_callback(model, steps: int, num_frames: int) -> Callable[[int, Tensor, Tensor, int], None]:
    """A callback(step, x0, x, total) that tells the page the progress, and shows x0 if previews are on.

    x0 holds videos of num_frames each. A preview that fails ends in a line of the log.
    """
    paths = decoder_paths() if _may_decode(model.model.latent_format) else []
    if not paths:
        plain = latent_preview.prepare_callback(model, steps)
        return lambda step, x0, x, total: plain(step, contact_sheet(x0), x, total)
    bar = comfy.utils.ProgressBar(steps)
    latent_format = model.model.latent_format
    colours = latent_preview.Latent2RGBPreviewer(
        latent_format.latent_rgb_factors, latent_format.latent_rgb_factors_bias
    )
    decoder = _load(paths, model.load_device)

    def callback(step: int, x0: Tensor, x: Tensor, total: int) -> None:
        nonlocal decoder
        picture = None
        if decoder is not None:
            try:
                picture = decoded_sheet(decoder, x0, num_frames)
            except Exception as error:  # of many types: whatever it is, the clip goes on
                decoder = None
                _warn_once(f"previews have the colours of the latents: decoding one failed ({error}).")
        if picture is None:
            picture = colours.decode_latent_to_preview(contact_sheet(x0))
        bar.update_absolute(step + 1, total, ("JPEG", picture, latent_preview.MAX_PREVIEW_RESOLUTION))

    return callback


def decoder_paths() -> list[str]:
    """Paths of files that are small decoders by their names, the preferred first."""
    names = folder_paths.get_filename_list(_FOLDER)
    ranked = [(rank, name) for name in names if (rank := _rank(PurePath(name).name)) is not None]
    paths = [folder_paths.get_full_path(_FOLDER, name) for _, name in sorted(ranked)]
    return [path for path in paths if path is not None]


@torch.inference_mode()
def decoded_sheet(decoder: SmallDecoder, latents: Tensor, num_frames: int) -> Image.Image:
    """All frames of a batch of videos side by side, in order, below twice the size of the host's previews."""
    weight = next(decoder.parameters())
    small = reduced(latents).to(weight.device, weight.dtype)
    at_once = max(1, MOST_IN_FRAME // (small.shape[2] * small.shape[3]))
    shown = max(1, latent_preview.MAX_PREVIEW_RESOLUTION // _columns(len(small)))  # pixels along a side
    shrink = max(1, SCALE * max(small.shape[2:]) // shown)
    cells = [
        _averaged(pictures, shrink)
        for video in small.split(num_frames)
        for pictures in decoder.in_groups(video, at_once)
    ]
    sheet = contact_sheet(torch.cat(cells), most=len(small))[0].clamp(0, 1).mul(255).round()
    return Image.fromarray(sheet.to(torch.uint8).movedim(0, -1).contiguous().cpu().numpy())


def reduced(latents: Tensor) -> Tensor:
    """Latents averaged over squares, (N, 4, h, w) -> (N, 4, h/k, w/k), for the least k within the bounds."""
    frames, _, height, width = latents.shape
    most = max(1, min(MOST_IN_FRAME, MOST_IN_CLIP // frames))
    sides = itertools.count(LEAST_REDUCTION)
    return _averaged(latents, next(k for k in sides if -(-height // k) * -(-width // k) <= most))


def _averaged(x: Tensor, side: int) -> Tensor:
    """Means over squares; those at the right and the bottom may be cut."""
    return avg_pool2d(x, side, ceil_mode=True, count_include_pad=False)


def contact_sheet(frames: Tensor, most: int = MOST_WITHOUT_DECODER) -> Tensor:
    """Up to `most` frames side by side, (1, C, rows·h, columns·w): a preview shows one picture alone."""
    count = min(len(frames), most)
    shown = frames[[round(index * (len(frames) - 1) / max(count - 1, 1)) for index in range(count)]]
    columns = _columns(count)
    rows = math.ceil(count / columns)
    empty = shown.new_zeros(rows * columns - count, *shown.shape[1:])
    cells = torch.cat([shown, empty]).unflatten(0, (rows, columns))  # (rows, columns, C, h, w)
    return cells.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)[None]


def _columns(count: int) -> int:
    return math.ceil(math.sqrt(count))


def _may_decode(latent_format) -> bool:
    """Whether previews are on, in more than the latents' colours, and latents are Stable Diffusion 1's."""
    decodes = args.preview_method in (LatentPreviewMethod.Auto, LatentPreviewMethod.TAESD)
    return decodes and latent_format.taesd_decoder_name == _LATENTS


def _rank(name: str) -> int | None:
    if "encoder" in name.lower():
        return None
    matches = (re.match(pattern, name, re.IGNORECASE) for pattern in _NAMES)
    return next((rank for rank, match in enumerate(matches) if match), None)


def _load(paths: list[str], device: torch.device) -> SmallDecoder | None:
    """The first small decoder that can be loaded; None where there is none."""
    half = comfy.model_management.should_use_fp16(device)
    dtype = torch.float16 if half else torch.float32
    for path in paths:
        try:
            return open_small_decoder(path).load(dtype=dtype, device=device).to(dtype)
        except CheckpointError as error:
            _warn_once(f"previews do without a small decoder: {error}")
        except Exception as error:  # of many types: files in a user's folder may hold anything
            _warn_once(f"previews do without a small decoder: {path} can't be loaded ({error}).")
    return None


@functools.cache
def _warn_once(words: str) -> None:
    """Says it in the log, once while the host runs."""
    logging.warning("Stillmotion: %s", words)
