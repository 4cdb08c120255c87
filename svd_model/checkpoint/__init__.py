"""Checkpoint files: what they hold, whether it is whole, and the networks in them."""

from .assembly import Checkpoint, Part, is_svd
from .sources import CheckpointError

__all__ = ["Checkpoint", "CheckpointError", "Part", "is_svd"]
