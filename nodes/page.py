"""What the page's scripts read of Python's tables, in the extra options of inputs.

Their names are ours: the host itself looks at words such as min and max.
"""

from ..clips.presets import NAMED, named
from ..samplers import guidance
from ..svd_model.checkpoint.official_files import DOWNLOADS

CURVE = {"stillmotion_curve": {"edge": guidance.TRAPEZOID_EDGE}}
"""Of an input for scales over the frames: the editor of a curve goes below it."""

_INPUTS = {"guidance": "shape"}
_OF_PRESET = ("sampler", "guidance", "min_guidance", "max_guidance", "schedule", "steps")

PRESETS = {
    "stillmotion_presets": {
        name: {_INPUTS.get(key, key): getattr(named(name), key) for key in _OF_PRESET} for name in NAMED
    }
}
"""Of a node's input: the values of its inputs, by the name of a preset."""

DOWNLOAD = {"stillmotion_downloads": DOWNLOADS}
"""Of a checkpoint's input: where the released files lie, for the page's dialog of missing models."""
