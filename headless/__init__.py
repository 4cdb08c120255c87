"""Stillmotion without ComfyUI: the pipeline as a Python API, and the command line."""

from ..clips.settings import Settings
from .engine.ranks import Ranks
from .files.videos import read_metadata, write_video
from .motion import MotionVideo
from .pipeline import Clip, Pipeline

__all__ = ["Clip", "MotionVideo", "Pipeline", "Ranks", "Settings", "read_metadata", "write_video"]
