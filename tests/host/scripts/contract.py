"""Asks our MODEL for every part of the host's model contract, beside core's UNet with the same weights.

python contract.py PACK CHECKPOINT [KEY], by the host's interpreter, in the host's folder. CHECKPOINT is the
tiny SVD. Without a KEY all are asked for but the slow one, for which the UNet is compiled.

Prints one line of JSON: by the key of docs/COMFYUI_CONTRACT.md what came of it, {"kept": true}, {"words": the
refusal} or {"fault": a traceback}.
"""

import json
import sys
import traceback
from pathlib import Path

sys.path.insert(0, ".")
PACK, FILE, KEYS = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
sys.argv = ["main.py"]

import comfy.cli_args  # noqa: E402

comfy.cli_args.args.cpu = True

import comfy.context_windows  # noqa: E402
import comfy.controlnet  # noqa: E402
import comfy.hooks  # noqa: E402
import comfy.latent_formats  # noqa: E402
import comfy.lora  # noqa: E402
import comfy.model_base  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.model_sampling  # noqa: E402
import comfy.patcher_extension  # noqa: E402
import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
import comfy.supported_models  # noqa: E402
import torch  # noqa: E402
from comfy.ldm.modules.attention import get_attention_function, optimized_attention  # noqa: E402
from comfy.patcher_extension import CallbacksMP, PatcherInjection, WrappersMP  # noqa: E402

sys.path.append(str(PACK / "tests"))

from support.by_path import load_pack  # noqa: E402

load_pack(PACK)

from stillmotion.nodes import host  # noqa: E402
from stillmotion.svd_model.checkpoint import Checkpoint  # noqa: E402

SHIPPED = PACK / "builtin_model" / "stillmotion_tiny.safetensors"
FRAMES, HEIGHT, WIDTH = 4, 8, 16
STEPS = 2
LAYER = "diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2.weight"
LORA = "lora_unet_middle_block_1_transformer_blocks_0_ff_net_2"


def core_model(checkpoint: Checkpoint):
    """Core's own SVD with the weights of a checkpoint, at its sizes."""
    ours = checkpoint.unet.params
    levels = len(ours.channel_mult)
    attended = [1] * ours.attention_levels + [0] * (levels - ours.attention_levels)
    config = comfy.supported_models.SVD_img2vid(
        {
            "image_size": 32,
            "in_channels": ours.in_channels,
            "out_channels": ours.out_channels,
            "model_channels": ours.model_channels,
            "channel_mult": list(ours.channel_mult),
            "num_res_blocks": [ours.num_res_blocks] * levels,
            "transformer_depth": [n for n in attended for _ in range(ours.num_res_blocks)],
            "transformer_depth_output": [n for n in attended for _ in range(ours.num_res_blocks + 1)],
            "transformer_depth_middle": 1,
            "context_dim": ours.context_dim,
            "adm_in_channels": ours.vector_dim,
            "num_classes": "sequential",
            "use_spatial_transformer": True,
            "use_linear_in_transformer": True,
            "legacy": False,
            "extra_ff_mix_layer": True,
            "use_spatial_context": True,
            "merge_strategy": "learned_with_images",
            "merge_factor": 0.0,
            "video_kernel_size": [3, 1, 1],
            "use_temporal_resblock": True,
            "use_temporal_attention": True,
            "disable_self_attentions": None,
            "dtype": torch.float32,
        }
    )
    config.unet_config["num_head_channels"] = ours.head_channels
    model = comfy.model_base.SVD_img2vid(config)
    file, prefix = checkpoint.file, "model.diffusion_model."
    weights = {key[len(prefix) :]: file.read(key).clone() for key in file.shapes if key.startswith(prefix)}
    model.diffusion_model.load_state_dict(weights, strict=True)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


CHECKPOINT = Checkpoint.open(FILE)
OURS, CORE = host.load_model(CHECKPOINT), core_model(CHECKPOINT)
NETWORKS = {patcher.model: patcher.model.diffusion_model for patcher in (OURS, CORE)}
generator = torch.Generator().manual_seed(0)
PICTURE = torch.randn(1, 4, HEIGHT, WIDTH, generator=generator)
EMBEDDING = torch.randn(1, 1, CHECKPOINT.unet.params.context_dim, generator=generator)


def sampled(model, steps: int = STEPS, positive: dict | None = None, frames: int = FRAMES, **options):
    """Latents of a few steps of Euler, by the host's own sampling."""
    said = {"motion_bucket_id": 127, "fps": 6, "augmentation_level": 0.02}
    shown = said | {"concat_latent_image": PICTURE} | (positive or {})
    hidden = said | {"concat_latent_image": torch.zeros_like(PICTURE)}
    latent = torch.zeros(frames, 4, HEIGHT, WIDTH)
    noise = comfy.sample.prepare_noise(latent, 1)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "karras", steps)
    return comfy.sample.sample_custom(
        model,
        noise,
        2.5,
        comfy.samplers.sampler_object("euler"),
        sigmas,
        [[EMBEDDING, shown]],
        [[torch.zeros_like(EMBEDDING), hidden]],
        latent,
        disable_pbar=True,
        seed=1,
        **options,
    )


def close(first: torch.Tensor, second: torch.Tensor) -> bool:
    return bool((first - second).abs().max() <= 2e-3 * second.abs().max())


PLAIN = sampled(OURS)
assert close(PLAIN, sampled(CORE))


def copy_with(model, change):
    """A clone that `change` has patched; change may give another in its place."""
    patched = model.clone()
    return change(patched) or patched


def as_in_core(change, moves: bool = True, **options) -> None:
    """The same patch on both gives the same latents, and others than without where it is to move them."""
    ours = sampled(copy_with(OURS, change), **options)
    theirs = sampled(copy_with(CORE, change), **options)
    assert torch.isfinite(ours).all()
    assert close(ours, theirs), (ours - theirs).abs().max()
    if not options:
        assert close(ours, PLAIN) != moves


def refused(change, **options) -> str:
    """What is said of a patch."""
    try:
        sampled(copy_with(OURS, change), **options)
    except ValueError as error:
        return str(error)
    raise AssertionError("nothing was said")


def seen_by_both(change, **options) -> list:
    """What change(model, seen) has written into the list `seen`: it must be the same on both."""
    lists = []
    for model in (OURS, CORE):
        seen = []
        result = sampled(copy_with(model, lambda patched, seen=seen: change(patched, seen)), **options)
        lists.append(seen)
        assert torch.isfinite(result).all()
    assert lists[0], "never called"
    assert lists[0] == lists[1], (len(lists[0]), len(lists[1]), lists[0][:3], lists[1][:3])
    return lists[0]


def spatial(options: dict, tokens: torch.Tensor) -> bool:
    """Whether these are the positions of a picture: core's patches reach attention over time too."""
    return tokens.shape[1] == options["activations_shape"][2] * options["activations_shape"][3]


def qkv_patch(name: str):
    def patch(q, k, v, options):
        return (q * 1.5, k, v * 0.5) if spatial(options, q) else (q, k, v)

    as_in_core(lambda model: model.set_model_patch(patch, name))


def one_tensor_patch(name: str):
    as_in_core(
        lambda model: model.set_model_patch(lambda n, options: n * 1.5 if spatial(options, n) else n, name)
    )


def replaced(name: str):
    def patch(q, k, v, options):
        scale = 2.0 if spatial(options, q) else 1.0
        return optimized_attention(q, k, v * scale, options["n_heads"], attn_precision=torch.float32)

    as_in_core(lambda model: model.set_model_patch_replace(patch, name, "input", 1))
    as_in_core(lambda model: model.set_model_patch_replace(patch, name, "middle", 0, 0))


def features_patch():
    as_in_core(
        lambda model: model.set_model_output_block_patch(lambda h, skip, options: (h * 1.1, skip * 0.9))
    )


def other_patch(*names: str):
    for name in names:
        words = refused(lambda model, name=name: model.set_model_patch(lambda *args: args[0], name))
        assert f"({name})" in words, words
    return words


def other_replacement():
    return refused(lambda model: model.set_model_patch_replace(lambda *args: None, "dit", "double_block", 0))


def override():
    """Each call of the host's attention, in its order, with its inputs."""

    def change(model, seen):
        def instead(function, q, k, v, heads, **given):
            options = given["transformer_options"]
            place = [str(options[key]) for key in ("block", "transformer_index", "block_index")]
            shapes = (
                [list(t.shape) for t in (q, k, v)],
                options["activations_shape"],
                options["original_shape"],
            )
            names = sorted(given.keys() - {"transformer_options", "_inside_attn_wrapper"})
            seen.append([function.__name__, shapes, heads, place, names, str(given.get("attn_precision"))])
            assert all(t.is_contiguous() for t in (q, k, v))
            return function(q, k, v * 1.5, heads, **given)

        model.model_options["transformer_options"]["optimized_attention_override"] = instead

    calls = seen_by_both(change)
    assert len(calls) == STEPS * 4 * len(TRANSFORMERS), len(calls)
    as_in_core(lambda model: change(model, []))


def chosen_attention():
    """As core's ModelAttentionBackend and nodes for Sage attention choose a function, for all of a MODEL."""
    plain = get_attention_function("pytorch")

    def change(model, seen):
        model.set_model_optimized_attention(lambda *args, **given: seen.append(1) or plain(*args, **given))

    assert len(seen_by_both(change)) == STEPS * 4 * len(TRANSFORMERS)
    as_in_core(lambda model: change(model, []), moves=False)


TRANSFORMERS = [name for name, _ in OURS.model.named_modules() if name.endswith(".transformer_blocks.0")]


def described(value) -> str:
    if isinstance(value, torch.Tensor):
        return str(list(value.shape))
    return type(value).__name__


def wrapper(kind: str):
    def change(model, seen, scale=None):
        def around(executor, *args, **kwargs):
            others = [f"{key} {described(value)}" for key, value in sorted(kwargs.items())]
            seen.append([[described(value) for value in args], others])
            result = executor(*args, **kwargs)
            return result * scale if scale else result

        model.add_wrapper_with_key(kind, "tests", around)

    if kind == WrappersMP.DIFFUSION_MODEL:
        seen = seen_by_both(change)
        assert len(seen) == STEPS and seen[0][0][-1] == "dict"
        as_in_core(lambda model: change(model, [], 0.9))
    else:  # called by the host around the network: with which inputs is the host's own matter
        counts = []
        for model in (OURS, CORE):
            seen = []
            assert close(sampled(copy_with(model, lambda m, seen=seen: change(m, seen))), PLAIN)
            counts.append(len(seen))
        assert counts[0] == counts[1] > 0, counts


def cached(node: str):
    """The node leaves out as many evaluations as with core's model, and so gives the same latents."""
    import comfy_extras.nodes_easycache as nodes

    counts, results = [], []
    for model in (OURS, CORE):
        evaluations = []
        patched = getattr(nodes, node).execute(model, 0.05, 0.0, 1.0, False)[0]
        hook = model.model.diffusion_model.out.register_forward_hook(
            lambda *_, seen=evaluations: seen.append(1)
        )
        results.append(sampled(patched, steps=12))
        hook.remove()
        counts.append(len(evaluations))
    assert 2 < counts[0] < 12, counts
    assert counts[0] == counts[1], counts
    assert close(*results)


def callbacks():
    kinds = (CallbacksMP.ON_CLONE, CallbacksMP.ON_LOAD, CallbacksMP.ON_PRE_RUN, CallbacksMP.ON_PREPARE_STATE)
    kinds += (CallbacksMP.ON_APPLY_HOOKS, CallbacksMP.ON_CLEANUP, CallbacksMP.ON_INJECT_MODEL)
    kinds += (CallbacksMP.ON_EJECT_MODEL, CallbacksMP.ON_DETACH)

    def change(model, seen):
        for kind in kinds:
            model.add_callback(kind, lambda *_, kind=kind: seen.append(kind))
        model.set_injections("tests", [PatcherInjection(lambda _: None, lambda _: None)])
        again = model.clone()
        again.force_cast_weights = not again.force_cast_weights  # so that it is loaded anew
        return again

    seen_by_both(change)


def key_of_run(name: str):
    """A key that the host sets at each call, as a patch of the features and a wrapper see it."""

    def change(model, seen):
        def patch(h, skip, options):
            value = options[name]
            if name == "uuids":
                value = len(value)
            seen.append(value.tolist() if isinstance(value, torch.Tensor) else value)
            return h, skip

        model.set_model_output_block_patch(patch)

    seen_by_both(change)


def key_of_place(name: str):
    """A key that the network sets, as patches of spatial attention see it."""

    def change(model, seen):
        def patch(n, options):
            if spatial(options, n):
                seen.append(str(options[name]))
            return n

        model.set_model_attn1_output_patch(patch)
        model.set_model_attn2_output_patch(patch)
        if name in ("block", "original_shape"):

            def features(h, skip, options):
                seen.append(str(options[name]))
                return h, skip

            model.set_model_output_block_patch(features)

    seen_by_both(change)


def key_of_a_pack():
    """A key of a pack's own, with whatever value, reaches its patches as it is."""
    state = object()

    def change(model, seen):
        model.model_options["transformer_options"]["pack_state"] = state
        model.set_model_attn1_output_patch(
            lambda n, options: seen.append(options["pack_state"] is state) or n if spatial(options, n) else n
        )

    assert all(seen_by_both(change))


def other_models_key(*names: str):
    for name in names:

        def change(model, name=name):
            model.model_options["transformer_options"][name] = {"scale_x": 2.0}

        words = refused(change)
        assert f"({name})" in words, words
    return words


def context_windows():
    handler = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule("standard_static"),
        fuse_method=comfy.context_windows.get_matching_fuse_method("pyramid"),
        context_length=4,
        context_overlap=2,
        dim=0,
        causal_window_fix=False,
    )

    def change(model):
        model.model_options["context_handler"] = handler

    as_in_core(change, frames=8)
    # The first step is exact with a feature cache, if no window takes the features of another.
    one_step = [sampled(model, frames=8, steps=1) for model in (OURS, host.with_feature_cache(OURS, 2))]
    assert close(*one_step)
    windows = copy_with(OURS, change)
    one_step = [sampled(model, frames=8, steps=1) for model in (windows, host.with_feature_cache(windows, 2))]
    assert close(*one_step)


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


def control():
    class Control(comfy.controlnet.ControlBase):
        def get_control(self, *_):
            return {}

        def get_models(self):
            return []

    return refused(lambda model: None, positive={"control": Control()})


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
    assert OURS.model.memory_required([8, 4, 72, 128]) == 2 * OURS.model.memory_required([4, 4, 72, 128])
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


DITS = ("double_block", "single_block", "post_input", "noise_refiner", "mlp_patch")
OTHERS = ("rope_options", "ar_config", "chroma_radiance_options", "minimax_h3_sigma_shift_audio")
OTHERS += ("minimax_h3_sigma_shift_video", "stg_self_attn_blocks", "stg_skip_self_attn", "a2v_cross_attn")
OTHERS += ("v2a_cross_attn", "audio_embeds")

PROBES = {
    "patches.attn1_patch": lambda: qkv_patch("attn1_patch"),
    "patches.attn1_output_patch": lambda: one_tensor_patch("attn1_output_patch"),
    "patches.attn2_patch": lambda: qkv_patch("attn2_patch"),
    "patches.attn2_output_patch": lambda: one_tensor_patch("attn2_output_patch"),
    "patches.middle_patch": lambda: one_tensor_patch("middle_patch"),
    "patches.output_block_patch": features_patch,
    "patches.input_block_patch": lambda: other_patch("input_block_patch"),
    "patches.input_block_patch_after_skip": lambda: other_patch("input_block_patch_after_skip"),
    "patches.middle_block_after_patch": lambda: other_patch("middle_block_after_patch"),
    "patches.emb_patch": lambda: other_patch("emb_patch"),
    "patches.forward_timestep_embed_patch": lambda: other_patch("forward_timestep_embed_patch"),
    "patches.double_block": lambda: other_patch(*DITS),
    "patches_replace.attn1": lambda: replaced("attn1"),
    "patches_replace.attn2": lambda: replaced("attn2"),
    "patches_replace.dit": other_replacement,
    "optimized_attention_override": override,
    "set_model_optimized_attention": chosen_attention,
    "wrappers.diffusion_model": lambda: wrapper(WrappersMP.DIFFUSION_MODEL),
    "wrappers.apply_model": lambda: wrapper(WrappersMP.APPLY_MODEL),
    "wrappers.calc_cond_batch": lambda: wrapper(WrappersMP.CALC_COND_BATCH),
    "wrappers.predict_noise": lambda: wrapper(WrappersMP.PREDICT_NOISE),
    "wrappers.sampler_sample": lambda: wrapper(WrappersMP.SAMPLER_SAMPLE),
    "wrappers.prepare_sampling": lambda: wrapper(WrappersMP.PREPARE_SAMPLING),
    "wrappers.outer_sample": lambda: wrapper(WrappersMP.OUTER_SAMPLE),
    "easycache": lambda: cached("EasyCacheNode") or cached("LazyCacheNode"),
    "callbacks": callbacks,
    "cond_or_uncond": lambda: key_of_run("cond_or_uncond"),
    "uuids": lambda: key_of_run("uuids"),
    "sigmas": lambda: key_of_run("sigmas"),
    "sample_sigmas": lambda: key_of_run("sample_sigmas"),
    "block": lambda: key_of_place("block"),
    "block_index": lambda: key_of_place("block_index"),
    "transformer_index": lambda: key_of_place("transformer_index"),
    "original_shape": lambda: key_of_place("original_shape"),
    "activations_shape": lambda: key_of_place("activations_shape"),
    "n_heads": lambda: key_of_place("n_heads"),
    "dim_head": lambda: key_of_place("dim_head"),
    "attn_precision": lambda: key_of_place("attn_precision"),
    "any key of a pack's own": key_of_a_pack,
    "rope_options": lambda: other_models_key(*OTHERS),
    "context_handler": context_windows,
    "sampler_cfg_function": guidance,
    "model_function_wrapper": function_wrapper,
    "denoise_mask_function": noise_mask,
    "area": conditioning_options,
    "control": control,
    "time_conditioning": time_conditioning,
    "image_only_indicator": indicator,
    "add_patches": weights_patch,
    "load_lora_for_models": lora_loader,
    "hooks": hooks,
    "get_key_patches": merging,
    "add_weight_wrapper": weight_wrapper,
    "set_model_compute_dtype": compute_dtype,
    "add_object_patch model_sampling": model_sampling,
    "add_object_patch latent_format": latent_format,
    "add_object_patch diffusion_model": network_replaced,
    "add_object_patch diffusion_model.": part_replaced,
    "clone": fresh_copy,
    "deepclone_multigpu": on_another_device,
    "set_torch_compile_wrapper": compiled,
    "set_injections": injections,
    "set_attachments": attachments,
    "state_dict_for_saving": saved_state,
    "memory_required": memory,
    "diffusion_model.input_blocks": modules,
    "diffusion_model.model_channels": lambda: attributes(
        "model_channels", "in_channels", "out_channels", "channel_mult", "num_res_blocks", "num_head_channels"
    ),
    "diffusion_model.dtype": lambda: attributes("dtype"),
    "model_config.unet_config": unet_config,
    "latent_format.latent_rgb_factors": previews,
    "process_latent_in": base_model,
}


def outcome(probe) -> dict:
    try:
        words = probe()
    except Exception:
        return {"fault": traceback.format_exc()[-1500:]}
    return {"words": words} if isinstance(words, str) else {"kept": True}


SLOW = "set_torch_compile_wrapper"
sys.stdout.write("\n" + json.dumps({key: outcome(PROBES[key]) for key in KEYS or PROBES.keys() - {SLOW}}))
