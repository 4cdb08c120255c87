"""Runs our networks in ComfyUI on weights that are lent, and prints how far the results are off as JSON.

python lent_weights.py PACK MODE FORMS CHECKPOINT..., by the host's interpreter, in the host's folder.

The host's own cast_bias_weight runs over a stand-in for comfy-aimdo, which needs an NVIDIA GPU. Weights claim
to lie on another device, pages and cast buffers are plain memory, and what a GPU would do to them at any
time is done at once: before a weight is cast, all that no layer has pinned is overwritten with NaN. MODE:

resident   every page fits and stays until it is unpinned; then it may be evicted
cast       no page fits: each weight is a window on one cast buffer
streams    the host's older way: weights in host memory, cast to one buffer a stream

FORMS: "gpu", the layers being computed as on a GPU, or "cpu".
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, ".")
PACK, MODE, FORMS, CHECKPOINTS = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
sys.argv = ["main.py"]

import comfy.cli_args  # noqa: E402

comfy.cli_args.args.cpu = True
comfy.cli_args.args.disable_pinned_memory = True

import comfy.lora  # noqa: E402
import comfy.memory_management  # noqa: E402
import comfy.model_management  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy_aimdo.host_buffer  # noqa: E402
import comfy_aimdo.model_vbar  # noqa: E402
import comfy_aimdo.torch  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

sys.path.append(str(PACK / "tests"))

from support.by_path import load_pack  # noqa: E402

ELSEWHERE = torch.device("cpu", 1)
NAN = 0xFF


class Lent(nn.Parameter):
    """A weight that claims to lie on another device than the one that computes."""

    device = property(lambda self: ELSEWHERE)


class Pages:
    """A model's pages on the device, one for each layer, and how often each is pinned."""

    def __init__(self, *_):
        self.buffers: list[Tensor] = []
        self.pins: list[int] = []
        self.versions: list[int] = []
        self.highest = 0
        self.loaded: set[int] = set()
        ALL_PAGES.append(self)

    def alloc(self, size: int) -> tuple["Pages", int, int]:
        self.buffers.append(torch.empty(size, dtype=torch.uint8))
        self.pins.append(0)
        self.versions.append(0)
        return self, len(self.buffers) - 1, size

    def fault(self, index: int) -> list[int] | None:
        """A page's signature, the page being pinned; None where no memory is left."""
        for pages in ALL_PAGES:
            pages.evict_unpinned(but=index if pages is self else None)
        if MODE != "resident":
            return None
        self.loaded.add(index)
        self.pins[index] += 1
        self.highest = max(self.highest, self.pins[index])
        return [self.versions[index]]

    def unpin(self, index: int) -> None:
        self.pins[index] -= 1

    def evict_unpinned(self, but: int | None) -> None:
        for index in [index for index in self.loaded if not self.pins[index] and index != but]:
            self.versions[index] += 1
            self.buffers[index].fill_(NAN)
            self.loaded.remove(index)

    def prioritize(self) -> None:
        """Nothing: all pages are alike."""

    def loaded_size(self) -> int:
        return 0


ALL_PAGES: list[Pages] = []


class CastBuffer:
    """The one buffer of a stream, overwritten whenever another weight is cast."""

    def __init__(self, *_):
        self._memory = torch.empty(0, dtype=torch.uint8)

    def size(self) -> int:
        return len(self._memory)

    def get(self, size: int, offset: int) -> Tensor:
        if offset == 0:
            self._memory.fill_(NAN)
        if offset + size > len(self._memory):
            grown = torch.empty(offset + size, dtype=torch.uint8)
            grown[: len(self._memory)] = self._memory
            self._memory = grown
        return self._memory[offset : offset + size]


class Stream:
    """The one stream that weights are cast on; on a CPU everything is done at once."""

    def wait_stream(self, other) -> None:
        """Nothing to wait for."""

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def __enter__(self) -> None:
        """Nothing to enter."""

    def __exit__(self, *error) -> None:
        """Nothing to leave."""


STREAM, BUFFER = Stream(), CastBuffer()


def to_tensor(memory, device) -> Tensor:
    """The bytes of a page or of a piece of a cast buffer."""
    if isinstance(memory, Tensor):
        return memory
    pages, index, _ = memory
    return pages.buffers[index]


class Patcher(comfy.model_patcher.ModelPatcherDynamic):
    """The host's patcher for dynamic memory, on a CPU."""

    def __new__(cls, *arguments, **options):
        return object.__new__(cls)

    def _vbar_get(self, create: bool = False):
        vbars = self.model.dynamic_vbars
        if create and not vbars:
            vbars["pages"] = Pages()
        return vbars.get("pages")

    def load(self, *arguments, **options):
        super().load(*arguments, **options)
        lend(layer for layer in self.model.modules() if hasattr(layer, "_v"))


class StreamingPatcher(comfy.model_patcher.ModelPatcher):
    """The host's older patcher, all weights staying in host memory."""

    def load(self, *arguments, **options):
        super().load(arguments[0] if arguments else options["device_to"], lowvram_model_memory=0.1)
        lend(layer for layer in self.model.modules() if getattr(layer, "comfy_cast_weights", False))


def lend(layers) -> None:
    """Has the weights of layers claim to be elsewhere."""
    for layer in layers:
        for name, weight in layer._parameters.items():
            if weight is not None and not isinstance(weight, Lent):
                lent = torch.Tensor._make_subclass(Lent, weight.detach())
                lent.__dict__.update(weight.__dict__)
                layer._parameters[name] = lent


def overwritten_buffer(stream, device, size, reference) -> Tensor:
    return BUFFER.get(size, 0).view(torch.int8)


def take_the_place_of_aimdo() -> None:
    comfy_aimdo.model_vbar.vbar_fault = lambda page: page[0].fault(page[1])
    comfy_aimdo.model_vbar.vbar_unpin = lambda page: page and page[0].unpin(page[1])
    comfy_aimdo.model_vbar.vbar_signature_compare = lambda a, b: a is not None and a == b
    comfy_aimdo.model_vbar.vbars_analyze = lambda *_: 0
    comfy_aimdo.torch.aimdo_to_tensor = to_tensor
    comfy_aimdo.host_buffer.HostBuffer = lambda *_: SimpleNamespace(size=0)
    management = comfy.model_management
    management.get_offload_stream = lambda device: STREAM
    management.sync_stream = lambda device, stream: None
    management.get_aimdo_cast_buffer = lambda stream, device: BUFFER
    management.get_cast_buffer = overwritten_buffer
    if MODE == "streams":
        comfy.model_patcher.CoreModelPatcher = StreamingPatcher
        return
    management.is_device_cpu = lambda device: False
    comfy.memory_management.aimdo_enabled = True
    comfy.model_patcher.CoreModelPatcher = Patcher


def lora_of(patcher, layers: list[str], unpatched: dict[str, nn.Module]) -> None:
    """Adds a difference to some layers' weights in the host, and to those of the networks beside it."""
    patches = {}
    for number, name in enumerate(layers):
        network, _, layer = name.partition(".")
        truth = unpatched[network].get_submodule(layer)
        generator = torch.Generator().manual_seed(number)
        up, down = (
            torch.randn(n, 2, generator=generator) for n in (len(truth.weight), truth.weight[0].numel())
        )
        change = 0.1 * (up @ down.T).view(truth.weight.shape) / down.shape[0] ** 0.5
        truth.weight = nn.Parameter((truth.weight.float() + change), requires_grad=False)
        patches[f"{name}.weight"] = ("diff", (change,))
    patcher.add_patches(patches, 1.0)


def error(ours: Tensor, truth: Tensor) -> float:
    """The largest difference, by the largest magnitude; infinite where numbers are not finite."""
    difference = (ours.double() - truth.double()).abs().max() / truth.abs().max()
    return float(difference) if torch.isfinite(difference) else float("inf")


def unet(checkpoint, random, with_lora: bool) -> list[float]:
    from stillmotion.nodes.host.model import load_model

    params = checkpoint.unet.params
    truth = checkpoint.unet.load(dtype=torch.float32, device="cpu")
    patcher = load_model(checkpoint)
    if with_lora:
        layers = ["middle_block.1.transformer_blocks.0.ff.net.2", "input_blocks.1.0.in_layers.2"]
        lora_of(patcher, [f"diffusion_model.{name}" for name in layers], {"diffusion_model": truth})
    comfy.model_management.load_models_gpu([patcher])
    x = random(6, params.in_channels, 8, 16)
    given = (random(6), random(6, 1, params.context_dim), random(6, params.vector_dim))
    frames = {"num_video_frames": 3}
    expected = truth(x, *given, **frames)
    # Twice: the second call finds resident weights, or what is left of them.
    return [error(patcher.model.diffusion_model(x, *given, **frames), expected) for _ in range(2)]


def vae(checkpoint, random, with_lora: bool) -> list[float]:
    from stillmotion.nodes.host.vae import load_vae
    from stillmotion.svd_model import layerwise

    encoder = checkpoint.encoder.load(dtype=torch.float32, device="cpu")
    decoder = checkpoint.decoder.load(dtype=torch.float32, device="cpu")
    host_vae = load_vae(checkpoint)
    if with_lora:
        layers = ["decoder.up.0.block.0.conv1", "decoder.up.1.upsample.conv", "encoder.mid.block_1.conv1"]
        layers += ["decoder.up.1.block.0.time_stack.in_layers.2"]
        lora_of(host_vae.patcher, layers, {"decoder": decoder.decoder, "encoder": encoder.encoder})
    errors = []
    z = random(3, 4, 8, 8)
    truth = decoder(z, len(z)).movedim(1, -1).add(1).div(2).clamp(0, 1)
    # In steps as small as can be, between which other layers' weights are cast, and in large ones.
    options = {"temporal": True, "dtype": z.dtype, "device": z.device}
    least = layerwise.DecodePlanner(decoder.params, *z[:, 0].shape, **options).smallest().peak
    for budget in (least, 0):
        errors.append(error(host_vae.decode(z, budget=budget), truth))
    pixels = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))
    errors.append(error(host_vae.encode(pixels), encoder(pixels.movedim(-1, 1) * 2 - 1)))
    return errors


def tower(checkpoint, random, with_lora: bool) -> list[float]:
    from stillmotion.nodes.host.vision import embed_image, load_image_tower

    truth = checkpoint.vision.load(dtype=torch.float32, device="cpu")
    host_tower = load_image_tower(checkpoint)
    pixels = random(2, 3, 224, 224)
    return [error(embed_image(host_tower, pixels)[:, 0], truth(pixels)) for _ in range(2)]


def run(network, path: str, with_lora: bool) -> dict:
    """A network of a checkpoint, with or without a LoRA on some layers, and what it left pinned."""
    from stillmotion.svd_model.checkpoint import Checkpoint

    ALL_PAGES.clear()
    generator = torch.Generator().manual_seed(0)
    errors = network(Checkpoint.open(path), lambda *shape: torch.randn(shape, generator=generator), with_lora)
    pins = [pin for pages in ALL_PAGES for pin in pages.pins]
    return {
        "network": network.__name__,
        "checkpoint": Path(path).stem,
        "lora": with_lora,
        "error": max(errors),
        "pages": len(pins),
        "pinned": sum(map(bool, pins)),
        "most_pins": max((pages.highest for pages in ALL_PAGES), default=0),
    }


@torch.no_grad()
def main() -> None:
    """One line of JSON: a list with one entry for each network of each checkpoint, and with a LoRA."""
    take_the_place_of_aimdo()
    load_pack(PACK)
    from stillmotion.svd_model.networks import kernels, planes

    if FORMS == "gpu":
        kernels._ONEDNN, kernels.memory_format = None, lambda device: torch.contiguous_format
        planes.fits = lambda device: True
    cases = ((unet, False), (unet, True), (vae, False), (vae, True), (tower, False))
    results = [run(network, path, lora) for path in CHECKPOINTS for network, lora in cases]
    sys.stdout.write(json.dumps(results) + "\n")


main()
