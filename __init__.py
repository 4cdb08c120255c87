"""Stillmotion: a still image becomes a short video with Stable Video Diffusion.

The networks are in `svd_model`, the samplers in `samplers`, the command line and the Python API in
`headless`.
"""

__version__ = "0.1.0"
