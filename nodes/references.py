"""Node for pictures whose look a video takes on."""

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..clips.canvas import FITS
from ..clips.motion import masks
from ..clips.picture import to_canvas
from ..clips.references import WEIGHT
from ..svd_model.networks.finite import check_finite
from . import host
from .checks import checked
from .conditioning import CATEGORY
from .inputs import setting
from .motion import check_mask


class Reference(io.ComfyNode):
    """Node that adds a picture, as its CLIP embedding, to the look of a video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionReference",
            display_name="SVD Reference",
            category=CATEGORY,
            description="Leads the look of a video towards another picture, or away from it; several follow "
            "each other.",
            search_aliases=["svd", "reference", "style", "ip-adapter", "clip vision", "steering", "prompt"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="From SVD Image to Video, or an SVD Reference."),
                io.ClipVisionOutput.Input(
                    "clip_vision_output",
                    tooltip="The other picture, from core's CLIP Vision Encode with the CLIP_VISION of SVD "
                    "Load Checkpoint.",
                ),
                io.Float.Input(
                    "weight",
                    default=0.5,
                    min=float(WEIGHT.lowest),
                    max=float(WEIGHT.highest),
                    step=WEIGHT.step,
                    tooltip="Its share: at 1 the video's own picture has none, below 0 it leads away.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="Where it counts, white; without: everywhere."),
                setting(
                    "fit",
                    optional=True,
                    advanced=True,
                    tooltip="How the mask gets the video's size; as the picture does.",
                ),
            ],
            outputs=[io.Conditioning.Output("positive", tooltip="With the other picture.")],
        )

    @classmethod
    @checked
    def execute(cls, positive, clip_vision_output, weight, mask=None, fit=FITS[0]) -> io.NodeOutput:
        latents = [options.get("concat_latent_image") for _, options in positive or ()]
        if not latents or any(latent is None for latent in latents):
            raise ValueError("positive holds no picture to animate; connect positive of SVD Image to Video.")
        token = _token(clip_vision_output, positive[0][0].shape[-1])
        shares = None if mask is None else _shares(mask, latents[0].shape[2:], fit)
        return io.NodeOutput(host.with_reference(positive, token, weight, shares))


def _token(clip_vision_output, width: int) -> Tensor:
    """The CLIP embedding of one picture, (1, 1, width); raises ValueError for what holds none such."""
    embeddings = getattr(clip_vision_output, "image_embeds", None)
    if not isinstance(embeddings, Tensor) or embeddings.shape != (1, width):
        found = "holds no embedding of a picture"
        if isinstance(embeddings, Tensor):
            found = f"holds an embedding of {'×'.join(map(str, embeddings.shape))} numbers"
        raise ValueError(
            f"clip_vision_output {found}; give one picture's, 1×{width}, encoded with the CLIP_VISION of SVD "
            "Load Checkpoint."
        )
    check_finite(embeddings, "in clip_vision_output; look at the node that made it")
    return embeddings[:, None].float()


def _shares(mask: Tensor, size: tuple[int, int], fit: str) -> Tensor:
    """The shares of a MASK, (1, H, W), in latents of a size, (1, 1, h, w); raises ValueError for no mask."""
    check_mask("mask", mask)
    if len(mask) != 1 or not mask.any():
        found = "×".join(map(str, mask.shape))
        raise ValueError(f"the mask is {found}; give one mask, 1×height×width, with something white in it.")
    height, width = (masks.DOWNSCALE * side for side in size)
    canvas = to_canvas(mask.expand(3, -1, -1), width, height, fit)
    return masks.shares((canvas[:, :1] + 1) / 2)
