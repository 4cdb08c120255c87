"""A checkpoint of the SVD family: its variant, and its networks as parts."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ..networks.unet import UNetParams, VideoUNet
from ..networks.vae import ImageEncoder, VideoDecoder
from ..networks.vision import VisionTransformer
from . import notes, sizes
from .folders import open_tensors
from .kinds import Role, check_numbers, find_kind
from .layouts import released, with_plain_names, with_released_names
from .notes import LATENT_RGB, VISION_HEAD_WIDTH, LatentColours
from .official_files import OFFICIAL_FILES
from .parts import Part, find_misfits
from .sizes import Shapes
from .sources import PICKLE_SUFFIXES, AnotherFileWanted, CheckpointError, TensorFile, joined
from .variants import Variant, find_variant

_LONGEST_HEADER = 2**23
"""The longest header that `is_svd` reads, in bytes; released files have about a twentieth of it."""


_TEMPORAL = (".time_stack.", ".mix_factor", ".time_mix_conv.")
"""Parts of keys that a decoder of single frames has not."""

_CONVOLUTIONS = ("quant_conv.", "post_quant_conv.")
"""Beginnings of keys: a VAE's convolutions of the latents, behind its encoder and before its decoder."""

PARTS = {
    "unet": ("UNet", (released.UNET,)),
    "vae": ("VAE", (released.FIRST_STAGE, *released.CONDITION_VAES)),
    "image_encoder": ("CLIP image tower", (released.VISION,)),
}
"""Parts that a file of their own may replace: words, and the prefixes of their tensors."""


@dataclass(frozen=True)
class Places:
    """The file or folder of a checkpoint, and other ones for its parts."""

    checkpoint: Path
    unet: Path | None = None
    vae: Path | None = None
    image_encoder: Path | None = None

    def replacements(self) -> dict[str, Path]:
        """Files of their own, by part."""
        found = {part: getattr(self, part) for part in PARTS}
        return {part: path for part, path in found.items() if path is not None}


class Checkpoint:
    """A view of tensors as a checkpoint of the SVD family; raises CheckpointError where it is none.

    Parts that are not whole raise no error before they are loaded.
    """

    def __init__(self, file: TensorFile, places: Places | None = None):
        self.file = networks_of(file)
        self.places = places or Places(file.path)
        if not any(key.startswith(released.UNET) for key in self.file.shapes):
            words = find_kind(self.file.shapes).words
            raise CheckpointError(
                f"{file.path} holds {words} and no UNet: give it beside a file with a UNet. {OFFICIAL_FILES}"
            )
        self.variant = self._find_variant()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        unet: str | Path | None = None,
        vae: str | Path | None = None,
        image_encoder: str | Path | None = None,
    ) -> "Checkpoint":
        """Opens a file or a folder as a checkpoint; reads headers, and no tensor of a safetensors file.

        unet, vae, image_encoder: other files or folders that have these parts, in place of the first one's.
        """
        named = {"unet": unet, "vae": vae, "image_encoder": image_encoder}
        return cls.at(Places(Path(path), **{part: Path(p) for part, p in named.items() if p is not None}))

    @classmethod
    def at(cls, places: Places) -> "Checkpoint":
        """Opens the checkpoint at some places, as `open` does."""
        try:
            file = open_tensors(places.checkpoint)
            others = {part: networks_of(open_tensors(path)) for part, path in places.replacements().items()}
        except AnotherFileWanted as error:
            raise CheckpointError(f"{error} {OFFICIAL_FILES}") from error
        return cls(_with_parts(file, others), places)

    @cached_property
    def notes(self) -> dict:
        """Notes of the file about itself (notes.py); {} for the released files."""
        return notes.read(self.file)

    @property
    def latent_colours(self) -> LatentColours | None:
        """Colours of the file's own latent space; None where it is Stable Diffusion's."""
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
        """The diffusion model."""
        return Part.of("UNet", self.file, released.UNET, VideoUNet, self._unet_params)

    @cached_property
    def vision(self) -> Part:
        """The CLIP image tower."""
        shapes = sizes.below(self.file.shapes, released.VISION)
        params = sizes.vision_params(shapes, self._size(VISION_HEAD_WIDTH))
        if params.width % params.head_width:
            raise CheckpointError(
                f"{self.file.path}: its image tower is {params.width} wide, which heads of "
                f"{params.head_width} (vision_head_width in its metadata) don't divide."
            )
        return Part.of("CLIP image tower", self.file, released.VISION, VisionTransformer, params)

    @cached_property
    def encoder(self) -> Part:
        """The encoder of the conditioning VAE, or of the first stage in a file without that VAE."""
        prefix = self._condition_vae or released.FIRST_STAGE
        shapes = sizes.below(self.file.shapes, prefix)
        # A conditioning VAE always has a quant_conv; a first stage has one in the image_decoder files.
        temporal = self.variant.temporal_decoder
        quant_conv = bool(self._condition_vae) or _has_convolution("quant_conv.", shapes, temporal)
        params = sizes.encoder_params(shapes)
        return Part.of("VAE encoder", self.file, prefix, ImageEncoder, params, quant_conv=quant_conv)

    @cached_property
    def decoder(self) -> Part:
        """The decoder of the first stage: temporal, or frame-wise in the image_decoder files and SV3D."""
        return self._decoder(released.FIRST_STAGE, temporal=self.variant.temporal_decoder)

    @cached_property
    def frame_wise_decoder(self) -> Part | None:
        """The decoder of single frames: of the first stage, or of the conditioning VAE; None without one."""
        if not self.variant.temporal_decoder:
            return self.decoder
        if self._condition_vae and self._condition_vae + "decoder.conv_in.weight" in self.file.shapes:
            return self._decoder(self._condition_vae, temporal=False)
        return None

    def decoder_for(self, frame_wise: bool) -> Part:
        """Chooses the decoder of single frames or of the first stage; CheckpointError where it is missing."""
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
        """Whether all four networks are whole and fit each other."""
        return all(network.whole for network in self.networks) and not self.misfits()

    def misfits(self) -> list[str]:
        """Describes each size in which two networks do not fit each other."""
        return find_misfits(*self.networks)

    def not_needed(self) -> list[str]:
        """Lists keys that no network takes, though released files have them."""
        return [key for key in self._extra_keys() if released.is_known(key)]

    def unexpected(self) -> list[str]:
        """Lists keys that no network takes and that released files don't have."""
        return [key for key in self._extra_keys() if not released.is_known(key)]

    @property
    def _condition_vae(self) -> str | None:
        """The prefix of the conditioning VAE, None in a file without one."""
        for prefix in released.CONDITION_VAES:
            if any(key.startswith(prefix + "encoder.") for key in self.file.shapes):
                return prefix
        return None

    @cached_property
    def _unet_params(self) -> UNetParams:
        shapes = sizes.below(self.file.shapes, released.UNET)
        return sizes.unet_params(shapes, self._size("head_channels"))

    def _find_variant(self) -> Variant:
        params = self._unet_params
        decoder = [key for key in self.file.shapes if key.startswith(released.FIRST_STAGE + "decoder.")]
        frame_wise = bool(decoder) and not any(part in key for key in decoder for part in _TEMPORAL)
        variant = find_variant(params.vector_dim, frame_wise, params.camera_dim, params.frame_positions)
        if variant is None or params.in_channels != 2 * params.out_channels:
            raise CheckpointError(
                f"{self.file.path} is a video model, but no known one: its UNet takes {params.in_channels} "
                f"channels, a vector of {params.vector_dim} and {params.camera_dim} numbers of a camera; SVD "
                "takes 8 channels and a vector of 768, SV3D 8 and 256 or 1280 (with a frame-wise decoder), "
                f"MotionCtrl-SVD 8, 768 and 12 numbers of a camera. {OFFICIAL_FILES}"
            )
        noted = {key: self._size(key) for key in ("num_frames", "width", "height")}
        return replace(variant, **{key: size for key, size in noted.items() if size})

    def _size(self, key: str) -> int | None:
        """A size from the file's notes, None where they don't give it."""
        return notes.size(self.notes, key, self.file.path)

    def _extra_keys(self) -> Iterator[str]:
        needed = {network.prefix + key for network in self.networks for key in network.expected}
        return (key for key in self.file.shapes if key not in needed)

    def _decoder(self, prefix: str, temporal: bool) -> Part:
        name = "temporal decoder" if temporal else "frame-wise decoder"
        shapes = sizes.below(self.file.shapes, prefix)
        post_quant_conv = _has_convolution("post_quant_conv.", shapes, temporal)
        options = {"temporal": temporal, "post_quant_conv": post_quant_conv}
        return Part.of(name, self.file, prefix, VideoDecoder, sizes.decoder_params(shapes), **options)


def _has_convolution(name: str, shapes: Shapes, temporal: bool) -> bool:
    """Whether a VAE has that convolution of the latents: a frame-wise one has both of them, or none."""
    names = (name,) if temporal else _CONVOLUTIONS
    return any(key.startswith(names) for key in shapes)


def networks_of(file: TensorFile) -> TensorFile:
    """A file's networks under the released names; raises CheckpointError for another kind of file."""
    file = with_plain_names(file)
    kind = find_kind(file.shapes)
    if kind.role not in (Role.CHECKPOINT, Role.PART):
        advice = f": {kind.advice}" if kind.advice else ""
        raise CheckpointError(
            f"{file.path} looks like {kind.words}, not an SVD checkpoint{advice}. "
            "Stillmotion animates with svd, svd_xt, svd_xt_1_1, svd_image_decoder, svd_xt_image_decoder, "
            f"sv3d_u, sv3d_p and motionctrl_svd. {OFFICIAL_FILES}"
        )
    file = with_released_names(file)
    check_numbers(file)
    return file


def _with_parts(file: TensorFile, others: Mapping[str, TensorFile]) -> TensorFile:
    """A view of a file with some parts from others; raises CheckpointError for a file without its part."""
    if not others:
        return file
    file = networks_of(file)
    replaced, files = (released.NOTES,), []
    for part, other in others.items():
        words, prefixes = PARTS[part]
        keys = {key for key in other.shapes if key.startswith(prefixes)}
        if not keys:
            kind = find_kind(other.shapes).words
            raise CheckpointError(f"{other.path} holds {kind}, and no {words}: choose a file that has one.")
        files.append(other.having(keys))
        replaced += prefixes
    kept = file.having({key for key in file.shapes if not key.startswith(replaced)})
    said = notes.of_parts(others.get("unet", file), others.get("image_encoder", file))
    return joined(file.path, [kept, *files], {notes.METADATA_KEY: json.dumps(said)})


def is_svd(path: str | Path) -> bool:
    """Tells by headers whether a safetensors file or a folder is a checkpoint of the SVD family.

    False for what can't be read, and for old .ckpt files, which would have to be read whole. A file with
    missing tensors counts too.
    """
    path = Path(path)
    try:
        if path.is_file() and not _has_a_short_header(path):
            return False
        Checkpoint.open(path)
    except Exception:  # of many types: files in a user's folder may hold anything
        return False
    return True


def _has_a_short_header(path: Path) -> bool:
    """Whether a file has a header, of bearable length."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    return path.suffix.lower() not in PICKLE_SUFFIXES and length <= _LONGEST_HEADER
