"""IMAGE, LATENT and CONDITIONING: checks of values from other nodes, and our tensors as such values."""

from torch import Tensor

from ...clips.conditions import Conditions
from ...clips.first_frame import FirstFrame
from ...clips.motion.course import Paste

_PICTURES = "an IMAGE is pictures (N, height, width, 3 or 4), of floating point numbers from 0 to 1"
_LATENTS = "a LATENT of SVD's is frames × 4 × height/8 × width/8"


def check_images(images) -> None:
    """Raises ValueError unless images is a batch of RGB or RGBA pictures, (N, H, W, 3 or 4)."""
    if isinstance(images, Tensor) and images.ndim == 4:
        if images.shape[0] == 0:
            raise ValueError("the batch of images is empty; connect at least one picture.")
        if images.shape[3] not in (3, 4):
            raise ValueError(
                f"the image has {images.shape[3]} channels; SVD takes RGB or RGBA: for a mask or a grey "
                "picture put core's Convert Mask to Image between."
            )
        if images.is_floating_point() and 0 not in images.shape:
            return
    raise ValueError(f"the image is {_described(images)}; {_PICTURES}: look at the node that made it.")


def check_latents(samples) -> None:
    """Raises ValueError unless samples are frames, (N, C, h, w), or core's videos, (B, C, T, h, w)."""
    if not isinstance(samples, Tensor) or samples.ndim not in (4, 5) or 0 in samples.shape:
        raise ValueError(
            f"the latent is {_described(samples)}, as of sound or of another kind of model, or empty; "
            f"{_LATENTS}: connect one of SVD Image to Video or of a sampler."
        )


def frames_as_batch(samples: Tensor) -> tuple[Tensor, int | None]:
    """Latents with their frames as the batch, (B·T, C, h, w), and T where the shape tells it.

    Core's video models have (B, C, T, h, w); (B·T, C, h, w) stays, with None.
    """
    if samples.ndim != 5:
        return samples, None
    return samples.movedim(2, 1).flatten(0, 1), samples.shape[2]


def as_images(pictures: Tensor) -> Tensor:
    """IMAGE (B, H, W, 3) in [0, 1] of pictures (B, 3, H, W) in [−1, 1]."""
    return pictures.movedim(1, -1) / 2 + 0.5


def lay_over(images: Tensor, paste: Paste) -> None:
    """Lays a picture over an IMAGE, a frame at a time and in its place: a long one has no room for a copy."""
    for image in images:
        image.copy_(as_images(paste.over(image.movedim(-1, 0)[None] * 2 - 1))[0])


def put_first_frame(images: Tensor, first: FirstFrame) -> None:
    """Writes a first frame, and what follows from it, over the decoded frames of a video, an IMAGE."""
    decoded = (image.movedim(-1, 0).float() * 2 - 1 for image in images)
    for image, frame in zip(images, first.over(decoded), strict=True):
        image.copy_(as_images(frame[None])[0].clamp(0, 1))


def conditioning_of(conditions: Conditions, options: dict) -> list:
    """CONDITIONING of one branch, with its options beside the picture's latent."""
    return [[conditions.context, {**options, "concat_latent_image": conditions.concat}]]


def _described(value) -> str:
    if not isinstance(value, Tensor):
        return "missing" if value is None else f"a {type(value).__name__}"
    return f"{'×'.join(map(str, value.shape))} of {str(value.dtype).removeprefix('torch.')}"


def frames_in_run(guider, total: int) -> int:
    """Frames of one video in a run of a SAMPLER, by the guider's conditions; total where none says so."""
    for conditions in getattr(guider, "conds", {}).values():
        for condition in conditions:
            frames = condition.get("model_conds", {}).get("num_video_frames")
            if frames is not None and total % frames.cond == 0:
                return frames.cond
    return total
