"""Stillmotion without ComfyUI: the pipeline as a Python API, and the command line."""

from .pipeline import Clip, Pipeline
from .settings import Settings
from .video_files import write_video

__all__ = ["Clip", "Pipeline", "Settings", "write_video"]
