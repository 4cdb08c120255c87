"""What is asked of transformer_options: patches, overrides, wrappers, keys."""

from contract_models import (
    CORE,
    OURS,
    PLAIN,
    STEPS,
    as_in_core,
    close,
    copy_with,
    refused,
    sampled,
    seen_by_both,
    spatial,
)

# isort: split

import comfy.context_windows
import torch
from comfy.ldm.modules.attention import get_attention_function, optimized_attention
from comfy.patcher_extension import CallbacksMP, PatcherInjection, WrappersMP

from stillmotion.nodes import host


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
