"""A second GPU for the MODEL's unconditional predictions, by the host's own division of work."""

import comfy.model_management
import comfy.multigpu

from .model import VideoModel

_CLONES = "multigpu"  # the host's key of a MODEL's copies on other devices


def with_second_gpu(model):
    """A copy of a MODEL with another on a second GPU, which the host gives half of a step's predictions.

    And a sentence: what it does, or why it is the MODEL as it was, where there is no second GPU of the kind
    that it is on. Raises ValueError for a model of another loader, which can't be loaded again.
    """
    if not isinstance(model.model, VideoModel):
        raise ValueError(
            "this model is not Stillmotion's, which alone SVD Second GPU copies; connect the MODEL of SVD "
            "Load Checkpoint, or take core's MultiGPU CFG Split."
        )
    first = model.load_device
    devices = comfy.model_management.get_all_torch_devices()
    if not any(device != first and device.type == first.type for device in devices):
        return model, f"no second GPU beside {first}: the model samples on it alone, as without this node"
    if model.get_additional_models_with_key(_CLONES):
        return model, "the model has a second GPU already, from a node before this one"
    # The host looks at all loaded models for a copy to use again, and breaks on one that is no longer there.
    whole = all(loaded is not None for loaded in comfy.model_management.loaded_models())
    shared = comfy.multigpu.create_multigpu_deepclones(model, 2, reuse_loaded=whole)
    second = shared.get_additional_models_with_key(_CLONES)[0].load_device
    return shared, f"positive predictions on {first}, negative ones on {second}"
