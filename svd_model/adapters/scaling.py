"""The factor of a LoRA's product: alpha / rank, or alpha / √rank where its trainer chose that (rsLoRA)."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint.json_files import read_json
from ..checkpoint.sources import CheckpointError, TensorFile

METADATA_KEY = "lora_adapter_metadata"
"""The key of the options in the metadata of a file of diffusers; their names begin with the network's."""

_CONFIG = "adapter_config.json"
_LARGEST_CONFIG = 2**20  # bytes; peft writes about a thousand
_NETWORK = "unet."
_MOST_QUANTIFIERS = 2  # in an expression of a file: more could take forever
_OTHERS = {"LOHA": "LoHa", "LOKR": "LoKr"}


@dataclass(frozen=True)
class Scaling:
    """Options of a LoRA that its factors follow from. `alpha` is None where the file gives none."""

    alpha: float | None = None
    rank_stabilised: bool = False
    patterns: tuple[tuple[re.Pattern, float], ...] = ()

    def of(self, module: str, rank: int, alpha: float | None) -> float:
        """The factor for a module. An alpha beside its tensors counts before the file's options."""
        if alpha is None:
            found = (value for pattern, value in self.patterns if pattern.match(module))
            alpha = next(found, self.alpha)
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


def read(file: TensorFile) -> Scaling:
    """The options of a LoRA: in its metadata, or in the configuration beside peft's adapter_model file."""
    config = file.path.with_name(_CONFIG)
    if file.path.stem == "adapter_model" and config.is_file():
        return _of_options(read_json(config, dict, _LARGEST_CONFIG, "put peft's own file there"), config)
    options = file.json_metadata(METADATA_KEY)
    return _of_options({key.removeprefix(_NETWORK): value for key, value in options.items()}, file.path)


def _of_options(options: Mapping, path: Path) -> Scaling:
    kind = str(options.get("peft_type", "LORA")).rpartition(".")[2].upper()
    if kind != "LORA":
        raise CheckpointError(f"{path} is a {_OTHERS.get(kind, kind)}; only LoRAs can be applied.")
    if options.get("use_dora"):
        raise CheckpointError(f"{path} is a DoRA, which can't be applied; only plain LoRAs can.")
    patterns = options.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise CheckpointError(
            f"{path}: alpha_pattern is {patterns!r}; names with a number each are expected."
        )
    alpha = options.get("lora_alpha")
    return Scaling(
        None if alpha is None else finite(alpha, "lora_alpha", path),
        bool(options.get("use_rslora")),
        tuple((_pattern(name, path), finite(value, name, path)) for name, value in patterns.items()),
    )


def finite(value, name: str, path: Path) -> float:
    """A number of a file as it is; CheckpointError for any other value."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise CheckpointError(f"{path}: {name} is {value!r}; a number is expected.")
    return number


def _pattern(text: str, path: Path) -> re.Pattern:
    """peft's expression for the end of a module's name; an expression that could take forever is refused."""
    nested = re.search(r"\)[*+?{]", text)
    if nested or len(re.findall(r"[*+?{]", text)) > _MOST_QUANTIFIERS or len(text) > 1000:
        raise CheckpointError(f"{path}: alpha_pattern has {text[:100]!r}; a module's name is expected.")
    try:
        return re.compile(rf"(?:.*\.)?(?:{text})$")
    except (re.error, RecursionError, OverflowError) as error:
        raise CheckpointError(
            f"{path}: alpha_pattern has {text[:100]!r} ({error}); a module's name is expected."
        ) from error
