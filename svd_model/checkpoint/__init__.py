"""Checkpoint files: what they hold, whether it is whole, and the networks in them.

sources.py reads a file, layouts/ gives its tensors the released names, kinds.py tells what it is, sizes.py
reads the sizes of its networks off its shapes, parts.py compares a network with it, assembly.py puts the
parts together.
"""

from .assembly import Checkpoint, is_svd
from .parts import Part
from .sources import CheckpointError

__all__ = ["Checkpoint", "CheckpointError", "Part", "is_svd"]
