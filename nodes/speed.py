"""Nodes for speed: one trades exactness for it, one takes a second GPU."""

from comfy_api.v0_0_2 import io

from . import host
from .checks import checked
from .inputs import own_id, setting


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


class SecondGPU(io.ComfyNode):
    """Node that has a second GPU compute the negative predictions; without one the model stays as it is."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionSecondGPU",
            display_name="SVD Second GPU",
            category="stillmotion/speed",
            description="Samples on two GPUs: one computes the positive predictions, the other the negative "
            "ones. Where there is one GPU alone it says so, and changes nothing.",
            search_aliases=["svd", "multi gpu", "multigpu", "two gpus", "parallel", "speed", "faster"],
            is_experimental=True,
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model of SVD Load Checkpoint, best behind all nodes that change it.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[io.Model.Output(tooltip="The model on both GPUs, for any sampler node.")],
        )

    @classmethod
    @checked
    def execute(cls, model) -> io.NodeOutput:
        shared, words = host.with_second_gpu(model)
        host.show_on_node(words, own_id(cls))
        return io.NodeOutput(shared)
