"""Stillmotion without ComfyUI: the pipeline as a Python API, and the command line."""

from .files.videos import write_video
from .pipeline import Clip, Pipeline
from .settings import Settings

__all__ = ["Clip", "Pipeline", "Settings", "write_video"]
