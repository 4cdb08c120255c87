"""A checkpoint: what variant it is, whether it is whole, and its networks."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import nn

from ..networks.unet import UNetParams, VideoUNet
from ..networks.vae import ImageEncoder, VAEParams, VideoDecoder
from ..networks.vision import VisionParams, VisionTransformer
from . import layout, notes
from .notes import LATENT_RGB, VISION_HEAD_WIDTH, LatentColours
from .official_files import OFFICIAL_FILES
from .sources import PICKLE_SUFFIXES, AnotherFileWanted, CheckpointError, TensorFile
from .transformers_layout import to_released_names
from .variants import Variant, find_variant

_LARGEST_NUMBER = 8192
"""Bounds what notes may ask for."""

_LONGEST_HEADER = 2**23
"""Of a file that is only looked at, in bytes; released files have about a twentieth of it."""

_SCALE_KEYS = (".scale_weight", ".weight_scale", ".comfy_quant")


@dataclass(frozen=True)
class Part:
    """One network of a checkpoint compared with the file's header."""

    name: str
    prefix: str
    params: UNetParams | VAEParams | VisionParams
    build: Callable[..., nn.Module]
    expected: Mapping[str, tuple[int, ...]]  # key, without the prefix, to shape
    parameters: int
    size: int  # in bytes
    dtypes: tuple[torch.dtype, ...]  # the most frequent first
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether every expected tensor is there, in its shape."""
        return not self.missing and not self.mismatched


class Checkpoint:
    """A file of tensors as a checkpoint of the SVD family.

    Raises CheckpointError where it is not one. Whether it is whole is in the reports of its networks; loading
    one that is not raises CheckpointError.
    """

    def __init__(self, file: TensorFile):
        self.file = to_released_names(file)
        self._refuse_other_number_formats()
        if not layout.is_video_unet(self.file.shapes):
            raise CheckpointError(
                f"{self.file.path} looks like {layout.looks_like(self.file.shapes)}, not an SVD checkpoint. "
                "Stillmotion animates with svd, svd_xt, svd_xt_1_1, svd_image_decoder, svd_xt_image_decoder, "
                f"sv3d_u and sv3d_p. {OFFICIAL_FILES}"
            )
        self.variant = self._find_variant()

    @classmethod
    def open(cls, path: str | Path) -> "Checkpoint":
        """The checkpoint in that file; its header is read, its tensors are not."""
        try:
            file = TensorFile.open(path)
        except AnotherFileWanted as error:
            raise CheckpointError(f"{error} {OFFICIAL_FILES}") from error
        return cls(file)

    @cached_property
    def notes(self) -> dict:
        """What the file says of itself, see notes.py; {} for the released ones."""
        return notes.read(self.file)

    @property
    def latent_colours(self) -> LatentColours | None:
        """The colours of its latents where they are its own; None where they are Stable Diffusion's."""
        if LATENT_RGB not in self.notes:
            return None
        channels = self._unet_params.out_channels
        colours = LatentColours.of_rows(self.notes[LATENT_RGB], channels)
        if colours is None:
            raise CheckpointError(
                f"{self.file.path}: its metadata gives {LATENT_RGB} as {self.notes[LATENT_RGB]!r}; "
                f"{channels} rows of three numbers and one of the bias are expected."
            )
        return colours

    @cached_property
    def unet(self) -> Part:
        """The UNet of the file."""
        return self._report("UNet", layout.UNET, VideoUNet, self._unet_params)

    @cached_property
    def vision(self) -> Part:
        """The CLIP image tower; raises CheckpointError for a head width that does not divide it."""
        shapes = layout.below(self.file.shapes, layout.VISION)
        params = layout.vision_params(shapes, self._number(VISION_HEAD_WIDTH))
        if params.width % params.head_width:
            raise CheckpointError(
                f"{self.file.path}: its image tower is {params.width} wide, which heads of "
                f"{params.head_width} (vision_head_width in its metadata) don't divide."
            )
        return self._report("CLIP image tower", layout.VISION, VisionTransformer, params)

    @cached_property
    def encoder(self) -> Part:
        """The conditioning VAE's encoder; the first stage's where the file has no other."""
        prefix = self._condition_vae or layout.FIRST_STAGE
        shapes = layout.below(self.file.shapes, prefix)
        # A conditioning VAE always has a quant_conv; a first stage has one in the image_decoder files.
        quant_conv = bool(self._condition_vae) or "quant_conv.weight" in shapes
        params = layout.encoder_params(shapes)
        return self._report("VAE encoder", prefix, ImageEncoder, params, quant_conv=quant_conv)

    @cached_property
    def decoder(self) -> Part:
        """The first stage's decoder: temporal, or frame-wise in the image_decoder files and SV3D."""
        name = "temporal decoder" if self.variant.temporal_decoder else "frame-wise decoder"
        return self._decoder_report(name, layout.FIRST_STAGE, temporal=self.variant.temporal_decoder)

    @cached_property
    def frame_wise_decoder(self) -> Part | None:
        """A decoder of single frames: the first stage's, or the conditioning VAE's, or none."""
        if not self.variant.temporal_decoder:
            return self.decoder
        if self._condition_vae and self._condition_vae + "decoder.conv_in.weight" in self.file.shapes:
            return self._decoder_report("frame-wise decoder", self._condition_vae, temporal=False)
        return None

    def decoder_for(self, frame_wise: bool) -> Part:
        """The decoder of single frames, or the first stage's; raises CheckpointError where there is none."""
        if not frame_wise:
            return self.decoder
        if self.frame_wise_decoder is None:
            raise CheckpointError(
                f"{self.file.path} has no frame-wise decoder, only a temporal one; leave frame-wise decoding "
                "out."
            )
        return self.frame_wise_decoder

    @property
    def networks(self) -> tuple[Part, ...]:
        """The four networks that animating needs."""
        return (self.unet, self.decoder, self.encoder, self.vision)

    @property
    def complete(self) -> bool:
        """Whether all networks are whole and fit together."""
        return all(network.whole for network in self.networks) and not self.misfits()

    def misfits(self) -> list[str]:
        """What the networks hand to each other and the other can't take, in words; empty in a sound file."""
        unet, decoder, encoder, vision = (network.params for network in self.networks)
        pairs = (
            (
                "numbers in the CLIP embedding",
                vision.output_dim,
                "in the context of the UNet",
                unet.context_dim,
            ),
            ("latent channels in the encoder", encoder.z_channels, "in the UNet", unet.out_channels),
            ("latent channels in the decoder", decoder.z_channels, "in the UNet", unet.out_channels),
            ("channels in the pictures of the encoder", encoder.image_channels, "in ours", 3),
            ("channels in the pictures of the decoder", decoder.image_channels, "in ours", 3),
        )
        return [f"{one} {here}, but {other} {there}" for here, one, there, other in pairs if one != other]

    def not_needed(self) -> list[str]:
        """Keys that none of the four networks takes, though released files have them."""
        return [key for key in self._extra_keys() if layout.is_known(key)]

    def unexpected(self) -> list[str]:
        """Keys that none of the four networks takes and that released files don't have."""
        return [key for key in self._extra_keys() if not layout.is_known(key)]

    def load(self, network: Part, *, dtype: torch.dtype, device: torch.device | str, **build) -> nn.Module:
        """A network of this checkpoint, ready for inference in that dtype.

        Built on meta; then each tensor of the file is put in its place. Tensors stored in no more than the
        width of `dtype` stay as they are (the operations cast them when used), so on the CPU they are views
        of the mapped file. `build` passes operations and attention on.
        """
        if not network.whole:
            raise CheckpointError(self.why_incomplete(network))
        module = network.build(device="meta", **build)
        state = {}
        for key in network.expected:
            tensor = self.file.read(network.prefix + key)
            wider = tensor.dtype.itemsize > dtype.itemsize
            state[key] = tensor.to(device, dtype if wider else tensor.dtype)
        module.load_state_dict(state, strict=True, assign=True)
        return module.eval().requires_grad_(False)

    def why_incomplete(self, network: Part) -> str:
        """What a network lacks, in words, with the first few keys."""
        parts = []
        if network.missing:
            parts.append(f"{len(network.missing)} of {len(network.expected)} tensors are missing")
        if network.mismatched:
            parts.append(f"{len(network.mismatched)} have another shape")
        examples = "; ".join((*network.missing, *network.mismatched)[:3])
        return (
            f"{self.file.path}: the {network.name} is not whole: {' and '.join(parts)} ({examples}). "
            f"Download the file again, or choose another. {OFFICIAL_FILES}"
        )

    @property
    def _condition_vae(self) -> str | None:
        for prefix in layout.CONDITION_VAES:
            if any(key.startswith(prefix + "encoder.") for key in self.file.shapes):
                return prefix
        return None

    @cached_property
    def _unet_params(self) -> UNetParams:
        shapes = layout.below(self.file.shapes, layout.UNET)
        return layout.unet_params(shapes, self._number("head_channels"))

    def _find_variant(self) -> Variant:
        params = self._unet_params
        decoder = [key for key in self.file.shapes if key.startswith(layout.FIRST_STAGE + "decoder.")]
        frame_wise = bool(decoder) and not any(".time_stack." in key for key in decoder)
        variant = find_variant(params.vector_dim, frame_wise)
        if variant is None or params.in_channels != 2 * params.out_channels:
            raise CheckpointError(
                f"{self.file.path} is a video model, but no known one: its UNet takes {params.in_channels} "
                f"channels and a vector of {params.vector_dim}; SVD takes 8 channels and a vector of 768, "
                f"SV3D 8 and 256 or 1280 (with a frame-wise decoder). {OFFICIAL_FILES}"
            )
        given = {key: self._number(key) for key in ("num_frames", "width", "height")}
        return replace(variant, **{key: number for key, number in given.items() if number})

    def _number(self, key: str) -> int | None:
        """A size from the file's own metadata, None when it has none."""
        number = self.notes.get(key)
        if number is None or (type(number) is int and 1 <= number <= _LARGEST_NUMBER):
            return number
        raise CheckpointError(
            f"{self.file.path}: its metadata gives {key} as {number!r}; a whole number from 1 to "
            f"{_LARGEST_NUMBER} is expected."
        )

    def _refuse_other_number_formats(self) -> None:
        """Integer and scaled weights would load and give a wrong picture."""
        scaled = next(
            (key for key in self.file.shapes if key.endswith(_SCALE_KEYS) or key == "scaled_fp8"), None
        )
        if scaled:
            raise CheckpointError(
                f"{self.file.path} holds scaled weights (its key {scaled}); Stillmotion reads plain float32, "
                "float16, bfloat16 and float8 files."
            )
        for key, dtype in self.file.dtypes.items():
            used = key.startswith((layout.UNET, layout.VISION, layout.FIRST_STAGE, *layout.CONDITION_VAES))
            used = used and ".loss." not in key
            if used and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
                raise CheckpointError(
                    f"{self.file.path} holds {str(dtype).removeprefix('torch.')} numbers (its key {key}); "
                    "Stillmotion reads float32, float16, bfloat16 and float8 files."
                )

    def _extra_keys(self) -> list[str]:
        needed = {network.prefix + key for network in self.networks for key in network.expected}
        return [key for key in self.file.shapes if key not in needed]

    def _decoder_report(self, name: str, prefix: str, temporal: bool) -> Part:
        shapes = layout.below(self.file.shapes, prefix)
        parts = {"temporal": temporal, "post_quant_conv": "post_quant_conv.weight" in shapes}
        return self._report(name, prefix, VideoDecoder, layout.decoder_params(shapes), **parts)

    def _report(self, name: str, prefix: str, network: type[nn.Module], params, **parts) -> Part:
        """Compares the network, built on meta, with the file's header."""
        build = partial(network, params, **parts)
        expected = {key: tuple(tensor.shape) for key, tensor in build(device="meta").state_dict().items()}
        missing, mismatched = [], []
        stored: Counter[torch.dtype] = Counter()
        for key, shape in expected.items():
            found = self.file.shapes.get(prefix + key)
            if found is None:
                missing.append(prefix + key)
                continue
            stored[self.file.dtypes[prefix + key]] += math.prod(found)
            if found != shape:
                mismatched.append(f"{prefix}{key} is {list(found)} instead of {list(shape)}")
        return Part(
            name=name,
            prefix=prefix,
            params=params,
            build=build,
            expected=expected,
            parameters=stored.total(),
            size=sum(dtype.itemsize * count for dtype, count in stored.items()),
            dtypes=tuple(dtype for dtype, _ in stored.most_common()),
            missing=tuple(missing),
            mismatched=tuple(mismatched),
        )


def is_svd(path: str | Path) -> bool:
    """Whether a safetensors file is a checkpoint of the SVD family, by its header alone.

    False for whatever can't be read, and for old .ckpt files, which would have to be read whole. Whether all
    tensors are there is not asked.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if path.suffix.lower() in PICKLE_SUFFIXES or length > _LONGEST_HEADER:
            return False
        Checkpoint.open(path)
    except Exception:  # of many types: files in a user's folder may hold anything
        return False
    return True
