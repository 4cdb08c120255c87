"""Addresses of the released checkpoints, for messages whose remedy is another file."""

_PAGES = "https://huggingface.co/stabilityai"

OFFICIAL_FILES = (
    f"The released files are at {_PAGES}/stable-video-diffusion-img2vid (svd), "
    f"{_PAGES}/stable-video-diffusion-img2vid-xt (svd_xt) and {_PAGES}/sv3d (sv3d_u, sv3d_p)."
)
