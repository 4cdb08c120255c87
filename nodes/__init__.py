"""The ComfyUI front door: one file for each stage of the graph, and host/ for the host's own classes."""

from comfy_api.v0_0_2 import ComfyExtension, io

from .between import BetweenGuider, BetweenSampler, FirstLastFrame
from .compare import CompareClips
from .conditioning import Camera, ImageToVideo, Orbit
from .contrast import Contrast
from .hold import Hold
from .loaders import LoadCheckpoint, LoadControlNet, LoadExVideo, LoadLoRA, LoadParts, LoadVAE
from .long import Extend, LongVideo
from .motion import CameraMove, Drag, DrawMotion
from .output import Animate, Decode
from .references import Reference
from .sampling import Guidance, KSampler, Preset, Sampler, Schedule
from .speed import FeatureCache, SecondGPU
from .steering import LowPassed, SkipGuidance, TemporalAttention


class StillmotionExtension(ComfyExtension):
    """The nodes of the pack, for the host to ask for."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            LoadCheckpoint,
            LoadParts,
            LoadExVideo,
            LoadVAE,
            LoadControlNet,
            LoadLoRA,
            ImageToVideo,
            FirstLastFrame,
            Reference,
            Orbit,
            Camera,
            DrawMotion,
            Drag,
            CameraMove,
            Hold,
            Guidance,
            SkipGuidance,
            TemporalAttention,
            LowPassed,
            Schedule,
            Sampler,
            Preset,
            KSampler,
            Extend,
            LongVideo,
            BetweenGuider,
            BetweenSampler,
            Contrast,
            Decode,
            Animate,
            FeatureCache,
            SecondGPU,
            CompareClips,
        ]
