"""Clips in the page: one to look at frame by frame, or two to compare."""

from comfy_api.v0_0_2 import io

from ..clips.presets import USUAL_FPS
from ..svd_model.networks.finite import check_finite
from . import host
from .checks import checked
from .inputs import setting

CATEGORY = "stillmotion"


class CompareClips(io.ComfyNode):
    """A player of one clip or of two, frame by frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionCompareClips",
            display_name="SVD Compare Clips",
            category=CATEGORY,
            description="Plays a clip in the node frame by frame, or two of them, with a wipe between them, "
            "side by side, in turns, or their difference.",
            search_aliases=["svd", "compare", "player", "scrub", "wipe", "difference", "preview video"],
            inputs=[
                io.Image.Input("a", display_name="clip a", tooltip="The frames of a clip."),
                io.Image.Input(
                    "b",
                    display_name="clip b",
                    optional=True,
                    tooltip="The frames of another clip, to compare; none: a alone.",
                ),
                setting("fps", default=USUAL_FPS, tooltip="Frames a second of the player."),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    @checked
    def execute(cls, a, fps, b=None) -> io.NodeOutput:
        clips = {label: images for label, images in (("A", a), ("B", b)) if images is not None}
        for label, images in clips.items():
            host.check_images(images)
            check_finite(images, f"in {label.lower()}; look at the node that made it")
        shown = [host.clip_in_page(label, images, fps) for label, images in clips.items()]
        return io.NodeOutput(ui={"stillmotion_clip": shown})
