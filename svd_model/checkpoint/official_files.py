"""Addresses of the released checkpoints, for messages whose remedy is another file, and for the page."""

_PAGES = "https://huggingface.co/stabilityai"

OFFICIAL_FILES = (
    f"The released files are at {_PAGES}/stable-video-diffusion-img2vid (svd), "
    f"{_PAGES}/stable-video-diffusion-img2vid-xt (svd_xt) and {_PAGES}/sv3d (sv3d_u, sv3d_p)."
)

_NAMES = {
    "stable-video-diffusion-img2vid": ("svd", "svd_image_decoder"),
    "stable-video-diffusion-img2vid-xt": ("svd_xt", "svd_xt_image_decoder"),
}
DOWNLOADS = {
    f"{name}.safetensors": f"{_PAGES}/{repository}/resolve/main/{name}.safetensors"
    for repository, names in _NAMES.items()
    for name in names
}
"""Addresses of the files of SVD themselves, by their names."""
