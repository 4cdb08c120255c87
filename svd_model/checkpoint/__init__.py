"""Checkpoint files: what they hold, whether it is whole, and the networks in them.

sources.py reads a file, folders.py a folder of files, json_files.py what lies beside them. layouts/ gives the
tensors the released names, kinds.py tells what they are. sizes.py reads the sizes of networks off their
shapes, parts.py compares a network with them, assembly.py puts the parts together.
"""

from .assembly import PARTS, Checkpoint, Places, is_svd
from .folders import MODEL_INDEX, NETWORKS
from .parts import Part
from .sources import CheckpointError

__all__ = ["MODEL_INDEX", "NETWORKS", "PARTS", "Checkpoint", "CheckpointError", "Part", "Places", "is_svd"]
