"""A network as a part of a checkpoint: the tensors that it needs beside the tensors of its file."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from ..networks.taesd import SmallDecoderParams
from ..networks.unet import UNetParams
from ..networks.vae import VAEParams
from ..networks.vision import VisionParams
from .official_files import OFFICIAL_FILES
from .sizes import why_impossible
from .sources import CheckpointError, TensorFile


@dataclass(frozen=True)
class Part:
    """One network of a checkpoint, compared with the header of its file."""

    name: str
    file: TensorFile
    prefix: str
    params: UNetParams | VAEParams | VisionParams | SmallDecoderParams
    build: Callable[..., nn.Module]
    expected: Mapping[str, tuple[int, ...]]  # key, without the prefix, to shape
    parameters: int
    size: int  # in bytes
    dtypes: tuple[torch.dtype, ...]  # the most frequent first
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]

    @classmethod
    def of(
        cls, name: str, file: TensorFile, prefix: str, network: type[nn.Module], params, **options
    ) -> "Part":
        """Compares a network of these sizes, built on meta, with the tensors below the prefix."""
        impossible = why_impossible(params)
        if impossible:
            raise CheckpointError(f"{file.path}: its {name} {impossible}. {OFFICIAL_FILES}")
        try:
            expected = _expected_shapes(network, params, **options)
        except (ValueError, RuntimeError) as error:  # sizes that don't go together, or beyond any memory
            raise CheckpointError(
                f"{file.path}: its {name} can't be built in the sizes that its header gives ({error}). "
                f"Choose another file. {OFFICIAL_FILES}"
            ) from error
        missing, mismatched = [], []
        stored: Counter[torch.dtype] = Counter()
        for key, shape in expected.items():
            found = file.shapes.get(prefix + key)
            if found is None:
                missing.append(prefix + key)
                continue
            stored[file.dtypes[prefix + key]] += math.prod(found)
            if found != shape:
                mismatched.append(f"{prefix}{key} is {list(found)} instead of {list(shape)}")
        return cls(
            name=name,
            file=file,
            prefix=prefix,
            params=params,
            build=partial(network, params, **options),
            expected=expected,
            parameters=stored.total(),
            size=sum(dtype.itemsize * count for dtype, count in stored.items()),
            dtypes=tuple(dtype for dtype, _ in stored.most_common()),
            missing=tuple(missing),
            mismatched=tuple(mismatched),
        )

    @property
    def path(self) -> Path:
        """The file in which the network lies, the checkpoint's where it is in none."""
        return next(
            (
                self.file.path_of(self.prefix + key)
                for key in self.expected
                if self.prefix + key in self.file.shapes
            ),
            self.file.path,
        )

    @property
    def absent(self) -> bool:
        """Whether the file has no tensor of the network."""
        return len(self.missing) == len(self.expected)

    @property
    def whole(self) -> bool:
        """Whether all tensors are there, in the shapes that the network needs."""
        return not self.missing and not self.mismatched

    def why_incomplete(self) -> str:
        """Describes what the network lacks, with the first few keys."""
        if self.absent:
            return f"{self.file.path} has no {self.name}: add a file with one. {OFFICIAL_FILES}"
        counts = []
        if self.missing:
            counts.append(f"{len(self.missing)} of {len(self.expected)} tensors are missing")
        if self.mismatched:
            counts.append(f"{len(self.mismatched)} have another shape")
        examples = "; ".join((*self.missing, *self.mismatched)[:3])
        return (
            f"{self.path}: the {self.name} is not whole: {' and '.join(counts)} ({examples}). "
            f"Download the file again, or choose another. {OFFICIAL_FILES}"
        )

    def sizes_in(self, dtype: torch.dtype) -> dict[str, int]:
        """Bytes of each tensor, by the network's own names, as `load` keeps it for that dtype."""
        stored = {key: self.file.dtypes[self.prefix + key] for key in self.expected}
        return {
            key: math.prod(shape) * min(stored[key].itemsize, dtype.itemsize)
            for key, shape in self.expected.items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """Reads all tensors as stored, under the network's own names; raises CheckpointError if not whole.

        Tensors of a mapped file are views of it, except where the file has one in pieces.
        """
        self._check_whole()
        return {key: self.file.read(self.prefix + key) for key in self.expected}

    def load(self, *, dtype: torch.dtype, device: torch.device | str, **options) -> nn.Module:
        """Builds the network with its weights, for inference in that dtype; CheckpointError if not whole.

        Tensors stored in no more than the width of `dtype` keep their own: the operations cast them when
        they are used, so on the CPU they stay views of the mapped file. `options` are the network's
        operations and attention.
        """
        self._check_whole()
        state = {}
        for name, tensor in self._pieces():  # one after another, so that no two copies of all need be held
            wider = tensor.dtype.itemsize > dtype.itemsize
            state[name] = tensor.to(device, dtype if wider else tensor.dtype)
        module = self.build(device="meta", **options)
        module.load_state_dict(state, strict=True, assign=True)
        return module.eval().requires_grad_(False)

    def _check_whole(self) -> None:
        if not self.whole:
            raise CheckpointError(self.why_incomplete())

    def _pieces(self) -> Iterator[tuple[str, Tensor]]:
        """Reads the tensors under the names by which the network loads them: pieces are `key.0`, `key.1` …"""
        for key in self.expected:
            pieces = self.file.read_pieces(self.prefix + key)
            names = [key] if len(pieces) == 1 else [f"{key}.{number}" for number in range(len(pieces))]
            yield from zip(names, pieces, strict=True)


@lru_cache(maxsize=64)
def _expected_shapes(network: type[nn.Module], params, **options) -> Mapping[str, tuple[int, ...]]:
    """Shapes of a network's tensors, by key, found on meta: a tenth of a second for the largest."""
    state = network(params, **options, device="meta").state_dict()
    return MappingProxyType({key: tuple(tensor.shape) for key, tensor in state.items()})


def find_misfits(unet: Part, decoder: Part, encoder: Part, vision: Part) -> list[str]:
    """Describes each size in which two networks that hand tensors to each other differ; none if sound.

    A network that no file has fits all.
    """
    context, latents = unet.params.context_dim, unet.params.out_channels
    pairs = (
        (
            vision,
            "numbers in the CLIP embedding",
            vision.params.output_dim,
            "in the context of the UNet",
            context,
        ),
        (encoder, "latent channels in the encoder", encoder.params.z_channels, "in the UNet", latents),
        (decoder, "latent channels in the decoder", decoder.params.z_channels, "in the UNet", latents),
        (encoder, "channels in the pictures of the encoder", encoder.params.image_channels, "in ours", 3),
        (decoder, "channels in the pictures of the decoder", decoder.params.image_channels, "in ours", 3),
    )
    return [
        f"{size} {here}, but {needed} {there}"
        for part, here, size, there, needed in pairs
        if size != needed and not part.absent
    ]
