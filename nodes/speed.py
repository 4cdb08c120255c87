"""Nodes that trade exactness for speed."""

from comfy_api.v0_0_2 import io

from . import host
from .checks import checked
from .inputs import setting


class FeatureCache(io.ComfyNode):
    """Node that reuses deep features in several evaluations of the model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionFeatureCache",
            display_name="SVD Feature Cache",
            category="stillmotion/speed",
            description="Faster and no longer exact: the deep features of a step serve the next ones too.",
            search_aliases=["svd", "deepcache", "cache", "speed", "faster", "interval"],
            inputs=[
                io.Model.Input("model", tooltip="The model of SVD Load Checkpoint."),
                setting(
                    "feature_cache",
                    "interval",
                    default=3,
                    tooltip="The whole network runs once in so many evaluations: 3 is usual, more is faster "
                    "and less true; 1 is exact, and not faster.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model with this cache.")],
        )

    @classmethod
    @checked
    def execute(cls, model, interval) -> io.NodeOutput:
        return io.NodeOutput(host.with_feature_cache(model, interval))
