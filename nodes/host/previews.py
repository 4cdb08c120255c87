"""Pictures of a clip while it is sampled: its frames side by side, by order in rows.

With a small decoder among the host's vae_approx files they are decoded, otherwise in the latents' colours.
"""

import functools
import itertools
import logging
import math
import re
from collections.abc import Callable
from pathlib import PurePath

import comfy.model_management
import folder_paths
import latent_preview
import torch
from comfy.cli_args import LatentPreviewMethod, args
from torch import Tensor
from torch.nn.functional import avg_pool2d, linear

from ...svd_model.checkpoint import CheckpointError
from ...svd_model.checkpoint.small_decoders import open_small_decoder
from ...svd_model.networks.taesd import SCALE, SmallDecoder

MOST_FRAMES = 36
"""Frames in a sheet at most; of a longer clip it has every second or third."""

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


def sheet_maker(model) -> Callable[[Tensor], Tensor] | None:
    """A function that makes a picture (H, W, 3) of uint8, on their device, of frames' latents (T, 4, h, w).

    By a small decoder where the user has one, otherwise by the colours of the latents; None where the latents
    have none. A decoder that fails ends in a line of the log.
    """
    latent_format = model.model.latent_format
    decoder = _load(decoder_paths(), model.load_device) if _may_decode(latent_format) else None
    if latent_format.latent_rgb_factors is None and decoder is None:
        return None

    def make(latents: Tensor) -> Tensor:
        nonlocal decoder
        if decoder is not None:
            try:
                return decoded_sheet(decoder, latents)
            except Exception as error:  # of many types: whatever it is, the clip goes on
                decoder = None
                _warn_once(f"previews have the colours of the latents: decoding one failed ({error}).")
        return coloured_sheet(latent_format, latents)

    return make


def frames_of_sheet(latents: Tensor, num_frames: int) -> tuple[Tensor, int]:
    """The frames to show of the first video of a batch, at most 36, and the stride between two of them."""
    stride = math.ceil(min(num_frames, len(latents)) / MOST_FRAMES)
    return latents[:num_frames:stride], stride


def sheet_of_batch(latents: Tensor) -> Tensor:
    """The sheet of all latents of a batch, at most 36, for the host's own previews, which show the first."""
    return contact_sheet(frames_of_sheet(latents, len(latents))[0])


def decoder_paths() -> list[str]:
    """Paths of files that are small decoders by their names, the preferred first."""
    names = folder_paths.get_filename_list(_FOLDER)
    ranked = [(rank, name) for name in names if (rank := _rank(PurePath(name).name)) is not None]
    paths = [folder_paths.get_full_path(_FOLDER, name) for _, name in sorted(ranked)]
    return [path for path in paths if path is not None]


@torch.inference_mode()
def sheet_of_images(images: Tensor) -> Tensor:
    """Frames of an IMAGE, (T, H, W, 3), side by side, below twice the size of the host's previews."""
    frames = images.movedim(-1, 1)
    return _pixels(_averaged(frames, max(1, max(frames.shape[2:]) // _side_of_cell(len(frames)))))


def _side_of_cell(frames: int) -> int:
    """Pixels along the longer side of a frame, as the host shows a sheet."""
    return max(1, latent_preview.MAX_PREVIEW_RESOLUTION // columns_and_rows(frames)[0])


def coloured_sheet(latent_format, latents: Tensor) -> Tensor:
    """The frames of a video side by side in the colours of their latents, as the host has them."""
    options = {"dtype": latents.dtype, "device": latents.device}
    weight = torch.tensor(latent_format.latent_rgb_factors, **options).T
    bias = latent_format.latent_rgb_factors_bias
    bias = None if bias is None else torch.tensor(bias, **options)
    colours = linear(contact_sheet(latents)[0].movedim(0, -1), weight, bias)
    return ((colours + 1) / 2).clamp(0, 1).mul(255).to(torch.uint8)


@torch.inference_mode()
def decoded_sheet(decoder: SmallDecoder, latents: Tensor) -> Tensor:
    """The frames of a video, decoded, side by side, below twice the size of the host's previews."""
    weight = next(decoder.parameters())
    small = reduced(latents).to(weight.device, weight.dtype)
    at_once = max(1, MOST_IN_FRAME // (small.shape[2] * small.shape[3]))
    shrink = max(1, SCALE * max(small.shape[2:]) // _side_of_cell(len(small)))
    cells = [_averaged(pictures, shrink) for pictures in decoder.in_groups(small, at_once)]
    return _pixels(torch.cat(cells))


def _pixels(frames: Tensor) -> Tensor:
    """The sheet of frames (T, 3, h, w) in [0, 1], as a picture (H, W, 3) of uint8."""
    sheet = contact_sheet(frames)[0].clamp(0, 1).mul(255).round()
    return sheet.to(torch.uint8).movedim(0, -1).contiguous()


def reduced(latents: Tensor) -> Tensor:
    """Latents averaged over squares, (N, 4, h, w) -> (N, 4, h/k, w/k), for the least k within the bounds."""
    frames, _, height, width = latents.shape
    most = max(1, min(MOST_IN_FRAME, MOST_IN_CLIP // frames))
    sides = itertools.count(LEAST_REDUCTION)
    return _averaged(latents, next(k for k in sides if -(-height // k) * -(-width // k) <= most))


def _averaged(x: Tensor, side: int) -> Tensor:
    """Means over squares; those at the right and the bottom may be cut."""
    return avg_pool2d(x, side, ceil_mode=True, count_include_pad=False)


def contact_sheet(frames: Tensor) -> Tensor:
    """Frames side by side in order, (1, C, rows·h, columns·w): a preview is one picture."""
    columns, rows = columns_and_rows(len(frames))
    empty = frames.new_zeros(rows * columns - len(frames), *frames.shape[1:])
    cells = torch.cat([frames, empty]).unflatten(0, (rows, columns))  # (rows, columns, C, h, w)
    return cells.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)[None]


def columns_and_rows(count: int) -> tuple[int, int]:
    """Columns and rows of a sheet of so many frames."""
    columns = math.ceil(math.sqrt(count))
    return columns, math.ceil(count / columns)


def _may_decode(latent_format) -> bool:
    """Whether previews are in more than the latents' colours, and latents are Stable Diffusion 1's."""
    coloured = args.preview_method == LatentPreviewMethod.Latent2RGB
    return not coloured and latent_format.taesd_decoder_name == _LATENTS


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
