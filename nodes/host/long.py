"""Long clips in the host: a MODEL whose first frames follow latents, and one that sees frames in windows."""

import comfy.context_windows
import comfy.patcher_extension
from comfy.context_windows import ContextFuseMethod, ContextSchedule, IndexListContextHandler
from torch import Tensor

from ...clips.run import Hold, Windows
from ...samplers.denoisers import held

_CONTEXT = "context_handler"
"""The model option in which core's Context Windows keeps its windows."""


def with_held_frames(model, way: Hold, noise: Tensor):
    """A copy of a MODEL whose estimate leads the first frames along latents + σ·noise, for every SAMPLER.

    noise: the run's first, (T, 4, h, w).
    """

    def predict(executor, x: Tensor, timestep: Tensor, model_options: dict, seed: int | None) -> Tensor:
        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return executor(x, timestep, model_options, seed)

        sigmas = model_options["transformer_options"]["sample_sigmas"].to(x.device)
        line = way.latents.to(x), noise[: len(way.latents)].to(x)
        return held(denoise, *line, sigmas, way.until)(x, timestep.max())

    patched = model.clone()
    patched.add_wrapper_with_key(
        comfy.patcher_extension.WrappersMP.PREDICT_NOISE, "stillmotion_held_frames", predict
    )
    return patched


def with_windows(model, way: Windows):
    """A copy of a MODEL that sees a long clip in windows, in core's own Context Windows.

    Their estimates are fused before guidance. Memory is planned for one window.
    """
    patched = model.clone()
    patched.model_options[_CONTEXT] = IndexListContextHandler(
        ContextSchedule("stillmotion", lambda *_: [list(frames) for frames in way.frames]),
        ContextFuseMethod("stillmotion", lambda length, **_: way.weights.tolist()),
        context_length=len(way.frames[0]),
        causal_window_fix=False,
    )
    comfy.context_windows.create_prepare_sampling_wrapper(patched)
    return patched


def check_without_windows(model, name: str) -> None:
    """Raises ValueError for a MODEL with core's Context Windows, where a node, by its name, has its own."""
    if _CONTEXT in model.model_options:
        raise ValueError(
            f"this model has Context Windows before it, and {name} makes its own windows and chunks; take "
            "that node out, or sample with SVD KSampler."
        )
