"""What is asked of conditioning, of the ModelPatcher and of what is inside of a MODEL."""

from contract_models import (
    CORE,
    EMBEDDING,
    FRAMES,
    HEIGHT,
    LAYER,
    LORA,
    NETWORKS,
    OURS,
    PLAIN,
    SHIPPED,
    WIDTH,
    as_in_core,
    close,
    copy_with,
    refused,
    sampled,
    seen_by_both,
)

# isort: split

from pathlib import Path
from unittest import mock

import comfy.cli_args
import comfy.controlnet
import comfy.hooks
import comfy.latent_formats
import comfy.model_sampling
import comfy.samplers
import torch
from comfy.patcher_extension import PatcherInjection, WrappersMP

from stillmotion.nodes import host
from stillmotion.nodes.host.control import controlnet_of
from stillmotion.svd_model.checkpoint import Checkpoint, Part
from stillmotion.svd_model.checkpoint.sources import TensorFile
from stillmotion.svd_model.networks import planes
from stillmotion.svd_model.networks.controlnet import ControlNet

BYPASSED = (
    "middle_block.1.transformer_blocks.0.ff.net.0.proj",
    "middle_block.1.transformer_blocks.0.attn1.to_q",
    "middle_block.1.proj_in",
    "middle_block.1.proj_out",
    "middle_block.0.in_layers.2",
    "middle_block.0.out_layers.3",
    "middle_block.0.time_stack.in_layers.2",
    "middle_block.0.time_stack.out_layers.3",
    "output_blocks.0.0.skip_connection",
    "output_blocks.1.1.conv",
)
"""Layers that a bypass LoRA changes, of each kind that is computed in a form of its own."""


def guidance():
    """cfg functions before, in the place of and after core's, and the batch of conditionings."""

    def weigh(args):
        return args["cond"] * 2.0 - args["uncond"]

    def batch(args):
        return comfy.samplers.calc_cond_batch(
            args["model"], args["conds"], args["input"] * 0.99, args["sigma"], args["model_options"]
        )

    as_in_core(lambda model: model.set_model_sampler_cfg_function(weigh))
    as_in_core(
        lambda model: model.set_model_sampler_pre_cfg_function(
            lambda args: [args["conds_out"][0], args["conds_out"][1] * 0.9]
        )
    )
    as_in_core(lambda model: model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * 0.9))
    as_in_core(lambda model: model.set_model_sampler_calc_cond_batch_function(batch))


def function_wrapper():
    def around(apply_model, args):
        return apply_model(args["input"], args["timestep"], **args["c"]) * 0.9

    as_in_core(lambda model: model.set_model_unet_function_wrapper(around))


def noise_mask():
    mask = torch.zeros(1, 1, HEIGHT, WIDTH)
    mask[..., : WIDTH // 2] = 1
    as_in_core(lambda model: None, noise_mask=mask)

    def change(model):
        model.set_model_denoise_mask_function(lambda sigma, mask, **_: mask * 0.5)

    as_in_core(change, noise_mask=mask)


def conditioning_options():
    area = {"area": (8, 8, 0, 4), "strength": 0.7}
    as_in_core(lambda model: None, positive=area)
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[..., : WIDTH // 2] = 1
    as_in_core(lambda model: None, positive={"mask": mask, "mask_strength": 0.8})
    as_in_core(lambda model: None, positive={"start_percent": 0.0, "end_percent": 0.5})


class Control(comfy.controlnet.ControlBase):
    """A ControlNet that gives features by the names of the host; None keeps a place as it is."""

    def __init__(self, **features):
        super().__init__()
        self._features = features

    def get_control(self, x, *_):
        generator = torch.Generator().manual_seed(3)
        return {
            name: [shape and torch.randn(len(x), *shape, generator=generator) for shape in shapes]
            for name, shapes in self._features.items()
        }

    def get_models(self):
        return []


def control():
    first, down, last = (32, HEIGHT, WIDTH), (32, HEIGHT // 2, WIDTH // 2), (64, HEIGHT // 2, WIDTH // 2)
    as_in_core(lambda model: None, positive={"control": Control(output=[first, first, down, last])})
    as_in_core(lambda model: None, positive={"control": Control(output=[None, down, None], middle=[last])})


def temporal_control():
    """The CONTROL_NET of SVD Load ControlNet, over our MODEL and over core's."""
    generator = torch.Generator().manual_seed(4)
    state = {
        key: torch.randn(meta.shape, generator=generator) / max(1, meta[0].numel()) ** 0.5
        for key, meta in ControlNet(OURS.model.params, device="meta").state_dict().items()
    }
    part = Part.of(
        "ControlNet", TensorFile.of_tensors(Path("random"), state), "", ControlNet, OURS.model.params
    )
    pictures = torch.rand(FRAMES, 3, 8 * HEIGHT, 8 * WIDTH, generator=generator)
    applied = controlnet_of(part, "author").copy().set_cond_hint(pictures, 0.5, (0.0, 0.8))
    as_in_core(lambda model: None, positive={"control": applied})
    assert not close(sampled(OURS, positive={"control": applied}), PLAIN)


def control_of_another_model():
    features = (32, HEIGHT, WIDTH)
    for given in ({"input": [features]}, {"output": [features]}, {"middle": [features]}):
        outcome = refused(lambda model: None, positive={"control": Control(**given)})
    return outcome


def time_conditioning():
    return refused(lambda model: None, positive={"time_conditioning": EMBEDDING})


def indicator():
    def change(model):
        def around(executor, *args, **kwargs):
            return executor(*args, **kwargs, image_only_indicator=torch.zeros(1, FRAMES))

        model.add_wrapper(WrappersMP.DIFFUSION_MODEL, around)

    return refused(change)


def weights_patch():
    change = 0.1 * torch.randn(
        OURS.model.state_dict()[LAYER].shape, generator=torch.Generator().manual_seed(3)
    )
    as_in_core(lambda model: model.add_patches({LAYER: ("diff", (change,))}) and None)


def lora() -> dict:
    rows, columns = OURS.model.state_dict()[LAYER].shape
    generator = torch.Generator().manual_seed(2)
    return {
        f"{LORA}.lora_up.weight": torch.randn(rows, 4, generator=generator),
        f"{LORA}.lora_down.weight": torch.randn(4, columns, generator=generator),
        f"{LORA}.alpha": torch.tensor(4.0),
    }


def lora_loader():
    import comfy.sd

    as_in_core(lambda model: comfy.sd.load_lora_for_models(model, None, lora(), 1.0, 0.0)[0])


def bypass_lora():
    """A LoRA computed beside each layer's own forward: layers of all kinds, in each of our forms."""
    import comfy.sd

    def differences() -> dict:
        found = {}
        for number, layer in enumerate(BYPASSED):
            weight = OURS.model.state_dict()[f"diffusion_model.{layer}.weight"]
            generator = torch.Generator().manual_seed(number)
            name = f"lora_unet_{layer.replace('.', '_')}"
            ones, down = [1] * (weight.ndim - 2), (4, *weight.shape[1:])
            found[f"{name}.lora_up.weight"] = torch.randn(len(weight), 4, *ones, generator=generator)
            found[f"{name}.lora_down.weight"] = torch.randn(down, generator=generator) / weight[0].numel()
        return found

    def change(model):
        return comfy.sd.load_bypass_lora_for_models(model, None, differences(), 1.0, 0.0)[0]

    as_in_core(change)
    with mock.patch.object(planes, "fits", lambda device: True):  # as on a GPU
        as_in_core(change)


def hooks():
    group = comfy.hooks.create_hook_lora(lora(), 1.0, 0.0)
    as_in_core(lambda model: None, positive={"hooks": group})
    options = {"patches": {"output_block_patch": [lambda h, skip, options: (h * 1.2, skip)]}}
    group = comfy.hooks.HookGroup()
    group.add(comfy.hooks.TransformerOptionsHook(transformers_dict=options))
    as_in_core(lambda model: None, positive={"hooks": group})
    group = comfy.hooks.HookGroup()
    around = {"wrappers": {WrappersMP.DIFFUSION_MODEL: {"tests": [lambda run, *a, **k: run(*a, **k) * 0.9]}}}
    group.add(comfy.hooks.TransformerOptionsHook(transformers_dict=around))
    as_in_core(lambda model: None, positive={"hooks": group})
    hooks_with_a_feature_cache()


def hooks_with_a_feature_cache():
    """A LoRA that begins at the second step: its evaluation has no features of the weights before."""

    def two_steps(model, strength: float):
        group, course = comfy.hooks.create_hook_lora(lora(), 1.0, 0.0), comfy.hooks.HookKeyframeGroup()
        course.add(comfy.hooks.HookKeyframe(strength=0.0, start_percent=0.0))
        course.add(comfy.hooks.HookKeyframe(strength=strength, start_percent=0.01))
        group.set_keyframes_on_hooks(course)
        return sampled(model, steps=2, both={"hooks": group})

    cached = host.with_feature_cache(OURS, 2)
    assert torch.equal(two_steps(cached, 1.0), two_steps(OURS, 1.0))
    assert not close(two_steps(OURS, 1.0), two_steps(OURS, 0.0))
    throughout = {"hooks": comfy.hooks.create_hook_lora(lora(), 1.0, 0.0)}
    whole, kept = (sampled(model, steps=2, both=throughout) for model in (OURS, cached))
    assert not torch.equal(whole, kept)  # the cache is at work with hooks, too


def merging():
    """ModelMergeSimple and ModelMergeBlocks: the keys and shapes of core's UNet."""
    ours, theirs = (model.get_key_patches("diffusion_model.") for model in (OURS, CORE))
    assert ours.keys() == theirs.keys()
    assert all(ours[key][0][0].shape == theirs[key][0][0].shape for key in ours)

    def change(model):
        for key, patch in model.get_key_patches("diffusion_model.").items():
            if key.startswith("diffusion_model.input_blocks."):
                model.add_patches({key: patch}, 0.1, 1.0)

    as_in_core(change)


def weight_wrapper():
    as_in_core(lambda model: model.add_weight_wrapper(LAYER, lambda weight: weight * 3.0))


def compute_dtype():
    near = sampled(copy_with(OURS, lambda model: model.set_model_compute_dtype(torch.bfloat16)))
    assert not torch.equal(near, PLAIN)
    assert (near - PLAIN).abs().mean() < 0.2 * PLAIN.abs().mean()


def model_sampling():
    class Sampling(comfy.model_sampling.ModelSamplingContinuousEDM, comfy.model_sampling.V_PREDICTION):
        pass

    def change(model):
        sampling = Sampling(model.model.model_config)
        sampling.set_parameters(0.01, 100.0, 1.0)
        model.add_object_patch("model_sampling", sampling)

    as_in_core(change)
    mine, theirs = (model.get_model_object("model_sampling") for model in (OURS, CORE))
    assert [mine.percent_to_sigma(p) for p in (0.1, 0.5)] == [theirs.percent_to_sigma(p) for p in (0.1, 0.5)]
    assert (mine.sigma_max, mine.sigma_min) == (theirs.sigma_max, theirs.sigma_min)


def latent_format():
    class Doubled(comfy.latent_formats.SD15):
        def process_out(self, latent):
            return 2 * super().process_out(latent)

    as_in_core(lambda model: model.add_object_patch("latent_format", Doubled()))
    assert OURS.model.latent_format.latent_channels == 4
    assert OURS.model.latent_format.scale_factor == CORE.model.latent_format.scale_factor


def previews():
    """Core's colours for Stable Diffusion's latents; where a file has others its own, by all methods."""
    import latent_preview
    from comfy.cli_args import LatentPreviewMethod

    ours, theirs = OURS.model.latent_format, CORE.model.latent_format
    assert ours.latent_rgb_factors == theirs.latent_rgb_factors
    assert ours.taesd_decoder_name == theirs.taesd_decoder_name
    small = host.load_model(Checkpoint.open(SHIPPED))
    said = small.model.notes["latent_rgb"]
    for method in (LatentPreviewMethod.Auto, LatentPreviewMethod.TAESD, LatentPreviewMethod.Latent2RGB):
        comfy.cli_args.args.preview_method = method
        previewer = latent_preview.get_previewer(torch.device("cpu"), small.model.latent_format)
        assert torch.equal(previewer.latent_rgb_factors.T, torch.tensor(said[:-1]))
        assert torch.equal(previewer.latent_rgb_factors_bias, torch.tensor(said[-1]))


def network_replaced():
    """The network itself, or its forward, as nodes that compile or wrap it put another in its place."""

    class Around(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network, self.dtype = network, network.dtype

        def forward(self, *args, **kwargs):
            return self.network(*args, **kwargs) * 0.9

    def whole(model):
        model.add_object_patch("diffusion_model", Around(NETWORKS[model.model]))

    def forward(model, name):
        network = NETWORKS[model.model]
        plain = getattr(type(network), name).__get__(network)
        model.add_object_patch(
            f"diffusion_model.{name}", lambda *args, **kwargs: plain(*args, **kwargs) * 0.9
        )

    as_in_core(whole)
    as_in_core(lambda model: forward(model, "forward"))
    as_in_core(lambda model: forward(model, "_forward"))


def part_replaced():
    def change(model):
        attention = NETWORKS[model.model].middle_block[1].transformer_blocks[0].attn2
        path = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.forward"
        model.add_object_patch(path, lambda *args, **kwargs: attention.forward(*args, **kwargs) * 2)

    return refused(change)


def fresh_copy():
    """What the host asks for under dynamic memory to compile a model or to hook its weights."""
    again = OURS.clone(force_deepcopy=True)
    assert again.model is not OURS.model
    assert not again.is_dynamic()
    assert torch.equal(sampled(again), PLAIN)


def on_another_device():
    again = OURS.deepclone_multigpu(new_load_device=torch.device("cpu"))
    assert again.model is not OURS.model
    assert torch.equal(sampled(again), PLAIN)


def compiled():
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    patched = OURS.clone()
    set_torch_compile_wrapper(patched, backend="eager")
    assert close(sampled(patched), PLAIN)


def injections():
    def change(model, seen):
        model.set_injections(
            "tests", [PatcherInjection(lambda _: seen.append("in"), lambda _: seen.append("out"))]
        )

    assert {"in", "out"} == set(seen_by_both(change))


def attachments():
    patched = OURS.clone()
    patched.set_attachments("tests", 7)
    patched.set_additional_models("tests", [CORE.clone()])
    again = patched.clone()
    assert again.get_attachment("tests") == 7
    assert len(again.get_additional_models_with_key("tests")) == 1
    assert close(sampled(again), PLAIN)


def saved_state():
    ours, theirs = OURS.state_dict_for_saving(), CORE.state_dict_for_saving()
    assert ours.keys() == theirs.keys()  # the tiny checkpoint says nothing of itself
    small = host.load_model(Checkpoint.open(SHIPPED))
    more = {
        key: value.tolist() for key, value in small.state_dict_for_saving().items() if "stillmotion." in key
    }
    assert more["stillmotion.num_frames"] == 14 and more["stillmotion.head_channels"] == 32


def memory():
    assert OURS.memory_required([FRAMES, 4, 72, 128]) > 0
    few, more, most = (OURS.model.memory_required([frames, 4, 72, 128]) for frames in (4, 8, 12))
    assert few < more and most - more == more - few  # besides what the weights take in another form
    assert OURS.model_size() == sum(weight.nbytes for weight in OURS.model.state_dict().values())


def attributes(*names: str, of: str = "diffusion_model"):
    for name in names:
        ours, theirs = (getattr(getattr(model.model, of), name) for model in (OURS, CORE))
        alike = list(ours) == list(theirs) if isinstance(ours, tuple) else ours == theirs
        assert alike, (name, ours, theirs)


def modules():
    ours, theirs = OURS.model.diffusion_model, CORE.model.diffusion_model
    for name in ("input_blocks", "output_blocks", "middle_block"):
        assert len(getattr(ours, name)) == len(getattr(theirs, name))
    for name in ("time_embed", "label_emb", "out"):
        assert hasattr(ours, name)
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def unet_config():
    ours, theirs = (model.model.model_config.unet_config for model in (OURS, CORE))
    assert {key: theirs[key] for key in ours if key in theirs and key != "dtype"} == {
        key: ours[key] for key in ours if key in theirs and key != "dtype"
    }
    assert {
        "model_channels",
        "in_channels",
        "context_dim",
        "adm_in_channels",
        "transformer_depth",
    } <= ours.keys()
    assert OURS.model.model_config.sampling_settings == CORE.model.model_config.sampling_settings


def base_model():
    ours, theirs = OURS.model, CORE.model
    assert (ours.model_type, ours.adm_channels) == (theirs.model_type, theirs.adm_channels)
    assert ours.get_dtype() == ours.get_dtype_inference() == torch.float32
    latent = torch.ones(1, 4, 8, 8)
    assert torch.equal(ours.process_latent_in(latent), theirs.process_latent_in(latent))
    assert torch.equal(ours.process_latent_out(latent), theirs.process_latent_out(latent))
