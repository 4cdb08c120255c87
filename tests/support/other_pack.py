"""Another author's pack in the host's custom_nodes: a source of odd inputs, and probes of outputs.

Its nodes and routes run in the host's process, use only the host's interfaces and replace nothing in it.
"""

import copy
import gc
import json
import os
import sys
import time

import comfy.cli_args
import torch
from aiohttp import web
from comfy.ldm.modules.attention import optimized_attention
from comfy.model_management import processing_interrupted
from server import PromptServer
from torch.overrides import TorchFunctionMode


class NoImages:
    """Node of an empty batch of pictures, like the output of a filter."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def tests(self):
        return (torch.zeros(0, 64, 64, 3),)


PICTURES = torch.full((2, 64, 128, 3), 0.5)
ODD_IMAGES = {"none": None, "list": [PICTURES], "one": PICTURES[0], "bytes": (PICTURES * 255).byte()}
ODD_IMAGES |= {"five": PICTURES[None], "mask": PICTURES[..., 0], "grey": PICTURES[..., :1]}
ODD_IMAGES |= {"narrow": PICTURES[:, :, :0], "empty": PICTURES[:0], "small": PICTURES[:, :4]}


class OddImage(NoImages):
    """Node of values that a broken node may return as an IMAGE."""

    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"of": (list(ODD_IMAGES),)}}

    def tests(self, of):
        return (ODD_IMAGES[of],)


ODD_LATENTS = {"none": None, "nothing": {}, "sound": {"samples": torch.zeros(1, 64, 32)}}
ODD_LATENTS |= {"no_frames": {"samples": torch.zeros(0, 4, 8, 16)}}
ODD_LATENTS |= {"no_width": {"samples": torch.zeros(4, 4, 8, 0)}}


class OddLatent(NoImages):
    """Node of a LATENT of sound, or of an empty one."""

    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"of": (list(ODD_LATENTS),)}}

    def tests(self, of):
        return (ODD_LATENTS[of],)


class NoClipVision(NoImages):
    """Node of core's CLIP_VISION output for a file without an image tower."""

    RETURN_TYPES = ("CLIP_VISION",)

    def tests(self):
        return (None,)


class NoEmbedding(NoClipVision):
    """Node of an embedding of no picture."""

    RETURN_TYPES = ("CLIP_VISION_OUTPUT",)


class TextConditioning(NoImages):
    """Node of conditioning from a text encoder."""

    RETURN_TYPES = ("CONDITIONING",)

    def tests(self):
        return ([[torch.zeros(1, 77, 64), {"pooled_output": torch.zeros(1, 64)}]],)


class ShowEmbedding:
    """Node that reports the numbers of a CONDITIONING for cross-attention."""

    RETURN_TYPES = ()
    FUNCTION = CATEGORY = "tests"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"conditioning": ("CONDITIONING",)}}

    def tests(self, conditioning):
        return {"ui": {"numbers": [json.dumps(conditioning[0][0].float().flatten().tolist())]}}


class RepeatTokens:
    """Node that repeats each token of a CONDITIONING three times, which does not change attention."""

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"conditioning": ("CONDITIONING",)}}

    def tests(self, conditioning):
        return ([[tokens.repeat(1, 3, 1), options] for tokens, options in conditioning],)


class NotFinite:
    """Node that puts NaN or infinity into one number of its input; a MODEL gives NaN from its second step."""

    RETURN_TYPES = ("*",)
    FUNCTION = CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("*",), "number": ("FLOAT", {"default": 0.0})}}

    def tests(self, value, number):
        if isinstance(value, torch.Tensor):
            spoilt = value.clone()
            spoilt.view(-1)[0] = number
            return (spoilt,)
        if isinstance(value, dict):
            return (value | {"samples": self.tests(value["samples"], number)[0]},)
        if not hasattr(value, "set_model_unet_function_wrapper"):  # a CLIP_VISION_OUTPUT
            spoilt = copy.copy(value)
            spoilt["image_embeds"] = self.tests(value["image_embeds"], number)[0]
            return (spoilt,)
        levels = []

        def spoil(apply, args):
            levels.append(float(args["timestep"][0]))
            spoilt = apply(args["input"], args["timestep"], **args["c"])
            return spoilt * number if levels[-1] < levels[0] else spoilt

        patched = value.clone()
        patched.set_model_unet_function_wrapper(spoil)
        return (patched,)


class VideoLatent:
    """Node of a LATENT in the shape of core's video models: (1, channels, frames, height, width)."""

    RETURN_TYPES = ("LATENT",)
    FUNCTION = CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"latent": ("LATENT",)}}

    def tests(self, latent):
        return ({"samples": latent["samples"].movedim(0, 1)[None]},)


BLOCKS = [("input", number) for number in (1, 2, 4, 5, 7, 8)] + [("middle", 0)]
BLOCKS += [("output", number) for number in range(3, 12)]
CALLS = {"prepared": 0, "deep": 0, "tokens": [], "blocks": []}


class CountCalls:
    """Node that passes a model on and counts its network's calls from then on."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def tests(self, model):
        network = model.model.diffusion_model
        if not getattr(network, "tests_count", False):
            network.tests_count = True
            network.label_emb.register_forward_hook(lambda *_: self.count("prepared"))
            network.middle_block.register_forward_hook(lambda *_: self.count("deep"))
        return (model,)

    @staticmethod
    def count(name):
        CALLS[name] += 1


class PlainAttention(CountCalls):
    """Node that replaces every attention by an equal one, and adds all other patches without effect."""

    def tests(self, model):
        def attend(q, k, v, extra_options):
            CALLS["blocks"].append([*extra_options["block"], extra_options["transformer_index"]])
            heads, precision = extra_options["n_heads"], extra_options["attn_precision"]
            assert q.shape[-1] == heads * extra_options["dim_head"]
            height, width = extra_options["activations_shape"][2:]
            assert q.shape[1] == height * width
            assert width * extra_options["original_shape"][2] == height * extra_options["original_shape"][3]
            return optimized_attention(q, k, v, heads, attn_precision=precision)

        def see(q, k, v, extra_options):
            CALLS["tokens"].append(k.shape[1])
            return q, k, v

        patched = model.clone()
        for block in BLOCKS:
            patched.set_model_attn1_replace(attend, *block)
        patched.set_model_attn2_patch(see)
        patched.set_model_attn1_patch(lambda q, k, v, extra_options: (q, k, v))
        patched.set_model_attn1_output_patch(lambda n, extra_options: n)
        patched.set_model_attn2_output_patch(lambda n, extra_options: n)
        return (patched,)


class DoubledCrossAttention(CountCalls):
    """Node that doubles the output of cross-attention."""

    def tests(self, model):
        patched = model.clone()
        patched.set_model_attn2_output_patch(lambda n, extra_options: n.mul_(2))
        return (patched,)


class OddPatch(CountCalls):
    """Node that patches a place that SVD's network does not have."""

    def tests(self, model):
        patched = model.clone()
        patched.set_model_patch_replace(lambda *_: None, "dit", "double_block", 0)
        return (patched,)


PRODUCTS = {"conv1d", "conv2d", "conv3d", "_convolution_pointwise", "linear", "_linear_pointwise"}
PRODUCTS |= {"matmul", "bmm", "baddbmm", "einsum", "scaled_dot_product_attention"}
LONGEST_HOLD = 120  # seconds, so that a test that fails ends


class Work(TorchFunctionMode):
    """Counter of torch calls in a thread, which can hold the thread at a call until a cancel arrives."""

    def __init__(self):
        super().__init__()
        self.entered = False
        self.begin(hold_at=-1)

    def begin(self, hold_at: int) -> None:
        """Restarts the count, and holds the thread at call number hold_at; -1 for none."""
        self.hold_at, self.holding = hold_at, False
        self.calls = self.products = self.products_after_cancel = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.calls += 1
        if self.calls == self.hold_at:
            self.hold()
        if getattr(function, "__name__", "") in PRODUCTS:
            self.products += 1
            self.products_after_cancel += processing_interrupted()
        return function(*args, **(kwargs or {}))

    def hold(self) -> None:
        self.holding = True
        deadline = time.monotonic() + LONGEST_HOLD
        while not processing_interrupted() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.holding = False


WORK = Work()


class WatchWork:
    """Node that passes its input on; from then on counts, or holds, the calls of the thread of all nodes."""

    RETURN_TYPES = ("*",)
    FUNCTION = CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("*",), "hold_at": ("INT", {"default": -1, "min": -1})}}

    def tests(self, value, hold_at):
        if not WORK.entered:  # and never left: the thread runs nodes to its end
            WORK.__enter__()
            WORK.entered = True
        WORK.begin(hold_at)
        return (value,)


class SetModes:
    """Node that passes its input on, and leaves the thread of all nodes in a mode, like a careless pack."""

    RETURN_TYPES = ("*",)
    FUNCTION = CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("*",), "mode": (["plain", "float64", "device", "autocast"],)}}

    def tests(self, value, mode):
        torch.set_default_dtype(torch.float64 if mode == "float64" else torch.float32)
        torch.set_default_device("meta" if mode == "device" else None)
        torch.set_autocast_enabled("cpu", mode == "autocast")
        return (value,)


KINDS = (SetModes, WatchWork, NoImages, NoClipVision, TextConditioning, ShowEmbedding, RepeatTokens)
KINDS += (NotFinite, VideoLatent, OddImage, OddLatent, NoEmbedding)
KINDS += (CountCalls, PlainAttention, DoubledCrossAttention, OddPatch)
NODE_CLASS_MAPPINGS = {f"Tests{kind.__name__}": kind for kind in KINDS}


@PromptServer.instance.routes.get("/tests/calls")
async def calls(_request):
    """Returns the counts since the last request."""
    counts = json.loads(json.dumps(CALLS))
    CALLS.update({"prepared": 0, "deep": 0, "tokens": [], "blocks": []})
    return web.json_response(counts)


@PromptServer.instance.routes.get("/tests/compiled")
async def compiled(_request):
    """Returns the number of graphs that torch.compile has traced in this process."""
    return web.json_response({"graphs": torch._dynamo.utils.counters["stats"]["unique_graphs"]})


@PromptServer.instance.routes.get("/tests/work")
async def work(_request):
    """Returns the counts since a node began to watch, and whether the thread is being held."""
    names = ("holding", "calls", "products", "products_after_cancel")
    return web.json_response({name: getattr(WORK, name) for name in names})


@PromptServer.instance.routes.post("/tests/switches")
async def switches(request):
    """Sets switches that the host reads whenever it loads a model; see low_memory_host.py."""
    vars(comfy.cli_args.args).update(await request.json())
    return web.json_response({})


def live_tensors() -> list[torch.Tensor]:
    """Tensors of this process, looked for while no other thread runs.

    gc.get_objects refers to what other threads are just building: `tuple(generator)` of a thread that goes on
    meanwhile ends with SystemError. By type: isinstance asks the objects, some of them dead weak proxies.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)
    time.sleep(4 * interval)  # until threads that wait already have asked by the old interval
    try:
        return [item for item in gc.get_objects() if issubclass(type(item), torch.Tensor)]
    finally:
        sys.setswitchinterval(interval)


@PromptServer.instance.routes.get("/tests/memory")
async def memory(_request):
    """Returns the live tensors of the process, and its resident bytes."""
    gc.collect()
    tensors = {}
    for item in live_tensors():
        if item.device.type == "cpu":
            if item.is_mkldnn:  # weights as oneDNN arranges them, which show no storage
                tensors[id(item)] = item.numel() * item.dtype.itemsize
            else:
                tensors[item.untyped_storage().data_ptr()] = item.untyped_storage().nbytes()
    with open("/proc/self/statm") as statm:
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return web.json_response({"tensors": len(tensors), "bytes": sum(tensors.values()), "resident": resident})
