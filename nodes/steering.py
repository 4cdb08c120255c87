"""Nodes that steer a MODEL: guidance by skipped layers, attention over time, and a picture of less detail."""

from comfy_api.v0_0_2 import io

from ..clips import guiding
from ..clips.choices import CLIP, USUAL_SKIPPED
from ..clips.low_pass import USUAL_UNTIL, LowPass
from ..clips.settings import Settings
from . import host
from .checks import checked
from .inputs import interval_inputs, own_or_chosen, setting
from .sampling import CATEGORY, interval_of


class SkipGuidance(io.ComfyNode):
    """Guidance away from a network with less attention, and rescaling, for any sampler node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionSkipGuidance",
            display_name="SVD Skip Guidance",
            category=CATEGORY,
            description="Sharper, steadier frames: guides away from the model without some of its attention.",
            search_aliases=["svd", "stg", "skip layer", "slg", "perturbed attention", "pag", "rescale cfg"],
            inputs=[
                io.Model.Input("model", tooltip="The model of SVD Load Checkpoint, guided or not."),
                setting(
                    "skip_guidance",
                    "spatial",
                    default=2.0,
                    tooltip="How far to guide away from the model without attention over space: sharper "
                    "frames. 2 is usual, 0 is off; it adds a pass to each step.",
                ),
                setting(
                    "skip_guidance",
                    "temporal",
                    default=0.5,
                    tooltip="How far to guide away from the model without attention over time: steadier "
                    "frames. 0.5 is usual, 0 is off; it adds a pass to each step.",
                ),
                setting(
                    "skip_layers",
                    "layers",
                    default=",".join(USUAL_SKIPPED),
                    tooltip="Layers whose attention is left out: d0 to d5 down, m0, u0 to u8 up, as in "
                    "u0,u1. u0 is usual.",
                ),
                setting("guidance_rescale", "rescale", default=0.7),
                setting("rescale_over", default=CLIP, advanced=True),
                *interval_inputs("elsewhere it costs no time"),
            ],
            outputs=[io.Model.Output(tooltip="The model with this guidance beside its own.")],
        )

    @classmethod
    @checked
    def execute(
        cls, model, spatial, temporal, layers, rescale, rescale_over, interval_low, interval_high
    ) -> io.NodeOutput:
        names = tuple(name.strip() for name in layers.split(",") if name.strip())
        if not names:
            raise ValueError(f"layers is {layers!r}; name one or more, as in u0,u1.")
        host.check_steerable(model, "SVD Skip Guidance", names)
        interval = interval_of(interval_low, interval_high)
        settings = Settings(
            skip_guidance=(spatial, temporal),
            skip_layers=names,
            skip_interval=interval,
            guidance_rescale=rescale,
            rescale_over=rescale_over,
        )
        return io.NodeOutput(
            host.with_further_terms(
                model,
                lambda num_frames: guiding.further_terms(settings, num_frames),
                guiding.skipping(settings),
            )
        )


class TemporalAttention(io.ComfyNode):
    """How sharply frames attend to each other, and by which positions."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionTemporalAttention",
            display_name="SVD Temporal Attention",
            category=CATEGORY,
            description="More or less motion, and more frames at once: changes attention over time.",
            search_aliases=["svd", "motion", "temporal attention", "motion scale", "position", "long"],
            inputs=[
                io.Model.Input("model", tooltip="The model of SVD Load Checkpoint."),
                setting("temporal_sharpness", "sharpness"),
                own_or_chosen(
                    "temporal_positions",
                    "positions",
                    tooltip="Number of frames over whose positions the video's are spread, such as 25 for "
                    "more frames at once; 0: one for each.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model with this attention.")],
        )

    @classmethod
    @checked
    def execute(cls, model, sharpness, positions=0) -> io.NodeOutput:
        if positions == 1:
            raise ValueError("positions is 1, where all frames would be one; give 2 at the least, or 0.")
        positions = positions or None
        host.check_steerable(model, "SVD Temporal Attention", positions=positions)
        hooks = guiding.common_hooks(Settings(temporal_sharpness=sharpness))
        return io.NodeOutput(host.steered(model, hooks, positions))


class LowPassed(io.ComfyNode):
    """A picture that the model sees without its details while layout and motion are settled."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionLowPass",
            display_name="SVD Low Pass",
            category=CATEGORY,
            description="An experiment with clips that cling to their picture: hides its details at first.",
            search_aliases=["svd", "alg", "adaptive low-pass guidance", "motion", "blur condition"],
            inputs=[
                io.Model.Input("model", tooltip="The model of SVD Load Checkpoint."),
                setting(
                    "low_pass",
                    "share",
                    default=0.4,
                    tooltip="Share of the picture's detail that the model sees at high noise levels, where "
                    "motion is settled; 1 is all. Published for other models: 0.25 to 0.6.",
                ),
                setting(
                    "low_pass_until",
                    "down_to",
                    default=USUAL_UNTIL,
                    tooltip="The noise level (sigma) down to which details are hidden; 200 is the first "
                    "fifth of 25 usual steps.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model that sees less of its picture at first.")],
            is_experimental=True,
        )

    @classmethod
    @checked
    def execute(cls, model, share, down_to) -> io.NodeOutput:
        host.check_steerable(model, "SVD Low Pass")
        return io.NodeOutput(host.with_low_pass(model, LowPass(share, down_to)))
