"""Stillmotion without ComfyUI: the pipeline as a Python API, and the command line."""

from ..clips.settings import Settings
from .files.videos import write_video
from .pipeline import Clip, Pipeline

__all__ = ["Clip", "Pipeline", "Settings", "write_video"]
