"""Stillmotion: a still image becomes a short video with Stable Video Diffusion.

The networks are in `svd_model`, the samplers in `samplers`, the command line and the Python API in
`headless`, the ComfyUI nodes in `nodes`. Under ComfyUI this file is the pack's entry point; importing it
needs neither ComfyUI nor torch.
"""

__version__ = "0.1.0"

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """The pack's extension, for ComfyUI to call."""
    from .nodes import StillmotionExtension

    return StillmotionExtension()
