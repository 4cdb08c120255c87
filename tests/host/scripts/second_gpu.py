"""Samples our MODEL with another on a second device, which is the CPU too, and one branch after the other.

python second_gpu.py PACK CHECKPOINT, as contract.py. Prints one line of JSON: by the change of the MODEL
whether the latents are equal, how many evaluations each device had, and what the nodes say.
"""

import json
import sys

import torch
from contract_models import CORE, LAYER, OURS, sampled

# isort: split
import comfy.model_management
import comfy.samplers

from stillmotion.nodes import host, sampling, steering

FIRST, SECOND = torch.device("cpu"), torch.device("cpu", 0)  # two names of one device
devices = [FIRST]
comfy.model_management.get_all_torch_devices = lambda exclude_current=False: list(devices)
comfy.samplers.can_concat_cond = lambda first, second: first is second  # each branch by itself


def with_patch(model):
    """A change of a weight, as a LoRA's."""
    patched = model.clone()
    weight = patched.get_model_object(LAYER)
    patched.add_patches({LAYER: ("diff", (torch.ones_like(weight) * 0.1,))}, 0.5)
    return patched


def guided(model, **interval):
    return sampling.guided_model(model, "linear", 1.0, 3.0, **interval)


def skipping(model):
    strengths = {"spatial": 2.0, "temporal": 1.0, "layers": "u0", "rescale": 0.7, "rescale_over": "clip"}
    node = steering.SkipGuidance.execute(model=model, **strengths, interval_low=0.0, interval_high=1e6)
    return node.result[0]


CHANGES = {
    "nothing": lambda model: model,
    "a patch": with_patch,
    "a feature cache": lambda model: host.with_feature_cache(model, 2),
    "guidance": guided,
    "guidance in an interval": lambda model: guided(model, interval=(1.0, 100.0)),
    "a feature cache and an interval": lambda model: host.with_feature_cache(
        guided(model, interval=(1.0, 100.0)), 2
    ),
    "skip guidance": skipping,
}


def evaluations(model, latents: list) -> list[int]:
    """Samples, and counts the evaluations of the MODEL's own network and of its copy's."""
    counts = []
    copies = model.get_additional_models_with_key("multigpu")
    networks = [model.model.diffusion_model, *(copy.model.diffusion_model for copy in copies)]
    for network in networks:
        calls = []
        counts.append(calls)
        network.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
    latents.append(sampled(model, steps=3))
    return [len(calls) for calls in counts]


def said(work) -> str:
    """The words of an error."""
    try:
        work()
    except ValueError as error:
        return str(error)
    return "nothing"


found = {"alone": host.with_second_gpu(OURS)[1], "kept": host.with_second_gpu(OURS)[0] is OURS}
devices[:] = [torch.device("cuda", 0)]
found["other"] = host.with_second_gpu(OURS)[1]
devices[:] = [FIRST, SECOND]
found["core's"] = said(lambda: host.with_second_gpu(CORE))
shared, found["shared"] = host.with_second_gpu(OURS)
again, found["again"] = host.with_second_gpu(shared)
found["again kept"] = again is shared
for name, change in CHANGES.items():
    for order, make in {
        "behind": lambda change=change: host.with_second_gpu(change(OURS))[0],
        "in front": lambda change=change: change(host.with_second_gpu(OURS)[0]),
    }.items():
        latents = [sampled(change(OURS), steps=3)]
        counts = evaluations(make(), latents)
        found[f"{name}, {order}"] = [torch.equal(*latents), counts]
sys.stdout.write(json.dumps(found) + "\n")
