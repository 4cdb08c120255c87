"""Another author's pack in the host's custom_nodes: a source of odd inputs, and a look at what is passed on.

Its nodes and routes run in the host's process and use the host's own means only; nothing of the host is
replaced.
"""

import gc
import json
import os

import torch
from aiohttp import web
from server import PromptServer


class NoImages:
    """A batch of pictures with none in it, as a node that filters pictures may give."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def tests(self):
        return (torch.zeros(0, 64, 64, 3),)


class NoClipVision(NoImages):
    """What core's checkpoint loaders give for CLIP_VISION where the file holds none."""

    RETURN_TYPES = ("CLIP_VISION",)

    def tests(self):
        return (None,)


class TextConditioning(NoImages):
    """Conditioning as a text encoder gives it."""

    RETURN_TYPES = ("CONDITIONING",)

    def tests(self):
        return ([[torch.zeros(1, 77, 64), {"pooled_output": torch.zeros(1, 64)}]],)


class ShowEmbedding:
    """The numbers that a CONDITIONING holds for the cross attention."""

    RETURN_TYPES = ()
    FUNCTION = CATEGORY = "tests"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"conditioning": ("CONDITIONING",)}}

    def tests(self, conditioning):
        return {"ui": {"numbers": [json.dumps(conditioning[0][0].float().flatten().tolist())]}}


NODE_CLASS_MAPPINGS = {
    f"Tests{kind.__name__}": kind for kind in (NoImages, NoClipVision, TextConditioning, ShowEmbedding)
}


@PromptServer.instance.routes.get("/tests/compiled")
async def compiled(_request):
    """How many graphs torch.compile has made in this process."""
    return web.json_response({"graphs": torch._dynamo.utils.counters["stats"]["unique_graphs"]})


@PromptServer.instance.routes.get("/tests/memory")
async def memory(_request):
    """The live tensors of the process, and its resident bytes."""
    gc.collect()
    tensors = {
        item.untyped_storage().data_ptr(): item.untyped_storage().nbytes()
        for item in gc.get_objects()
        if isinstance(item, torch.Tensor) and item.device.type == "cpu"
    }
    with open("/proc/self/statm") as statm:
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return web.json_response({"tensors": len(tensors), "bytes": sum(tensors.values()), "resident": resident})
