"""Performs the steps of recipes with a checkpoint's networks in the host."""

import torch
from torch import Tensor

from ...clips.recipes import Encode, Keep, Latent, Sample, Step
from ...clips.run import Branch, Hold, Run, Windows
from ...samplers.guidance import CONDITIONAL, UNCONDITIONAL
from ...samplers.solvers import find_solver
from ...svd_model.checkpoint import Checkpoint
from ...svd_model.networks.vision import preprocess
from .guider import with_guidance
from .long import with_held_frames, with_windows
from .model import load_model, with_feature_cache
from .sampling import make_sampler, sample_latent
from .shared import NUM_FRAMES, TRACK, VECTOR
from .vae import load_vae
from .values import as_images, conditioning_of
from .vision import embed_image, load_image_tower


class Performer:
    """Encodes, samples and decodes in the host's memory management, with its progress and cancel.

    Latents are in the diffusion model's scale; frames are an IMAGE, (T, H, W, 3) in [0, 1].
    """

    def __init__(self, checkpoint: Checkpoint, frame_wise: bool):
        self._vae = load_vae(checkpoint, frame_wise)
        self._tower = load_image_tower(checkpoint)
        self._model = load_model(checkpoint)

    def perform(self, step: Step):
        """The result of a step, see clips.recipes."""
        if isinstance(step, Encode):
            pixels = preprocess(step.picture, self._tower.image_size)
            return embed_image(self._tower, pixels), self._vae.encode(as_images(step.noisy))
        if isinstance(step, Latent):
            latent = self._vae.encode(as_images(step.picture))
            return self._model.model.process_latent_in(latent)
        if isinstance(step, Sample):
            return self._sample(step.run, (step.number, step.total))
        if isinstance(step, Keep):  # the host runs a graph in one go
            return None
        images = self._vae.decode(self._model.model.process_latent_out(step.latents), ring=step.ring)
        if step.last_frame is not None:
            images[-1:] = as_images(step.last_frame).to(images)
        return images

    def _sample(self, run: Run, of: tuple[int, int] = (1, 1)) -> Tensor:
        model = with_guidance(self._model, lambda num_frames: run.terms)
        if isinstance(run.way, Hold):
            model = with_held_frames(model, run.way, run.start)
        elif isinstance(run.way, Windows):
            model = with_windows(model, run.way)
        if run.feature_cache > 1:
            model = with_feature_cache(model, run.feature_cache)
        solver = make_sampler(find_solver(run.solver, run.churn), [run.seed])
        both = [_conditioning(run.branches[name], len(run.start)) for name in (CONDITIONAL, UNCONDITIONAL)]
        latent = {"samples": torch.zeros_like(run.start)}
        sampled = sample_latent(model, *both, latent, run.start, solver, run.sigmas, run.seed, of)
        return self._model.model.process_latent_in(sampled["samples"])


def _conditioning(branch: Branch, num_frames: int) -> list:
    """CONDITIONING of one branch."""
    conditions = branch.conditions
    options = {VECTOR: conditions.vector, NUM_FRAMES: num_frames}
    if conditions.camera is not None:
        options[TRACK] = conditions.camera
    return conditioning_of(conditions, options)
