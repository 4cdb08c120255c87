"""Performs the steps of recipes with a checkpoint's networks in the host."""

import torch
from torch import Tensor

from ...clips.recipes import Encode, Keep, Latent, Sample, Step
from ...clips.run import Between, Branch, Hold, Ring, Run, Windows, solver_of
from ...samplers.bidirectional import BIDIRECTIONAL
from ...samplers.guidance import CONDITIONAL, UNCONDITIONAL
from ...svd_model.checkpoint import Checkpoint
from ...svd_model.networks.vision import preprocess
from .guider import with_further_terms, with_guidance
from .hold import with_constraint
from .long import with_held_frames, with_windows
from .model import load_model, with_feature_cache
from .sampling import make_between_sampler, make_sampler, sample_latent
from .shared import NUM_FRAMES, TRACK, VECTOR
from .steering import steered, with_low_pass
from .vae import load_vae
from .values import as_images, conditioning_of, lay_over, put_first_frame
from .vision import embed_image, load_image_tower
from .ways import Ends, Shift, with_way


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
        if step.first is not None:
            put_first_frame(images, step.first)
        if step.last_frame is not None:
            images[-1:] = as_images(step.last_frame).to(images)
        if step.paste is not None:
            lay_over(images, step.paste)
        return images

    def _sample(self, run: Run, of: tuple[int, int] = (1, 1)) -> Tensor:
        model = self._model
        if isinstance(run.way, Between) and run.way.method in BIDIRECTIONAL:
            sampler = make_between_sampler(run.way.method, [run.seed])
        else:
            model = _guided(model, run)
            sampler = make_sampler(solver_of(run), [run.seed])
        model = steered(model, run.hooks, run.positions)
        if run.low_pass is not None:
            model = with_low_pass(model, run.low_pass)
        if isinstance(run.way, Hold):
            model = with_held_frames(model, run.way, run.start)
        elif isinstance(run.way, Windows):
            model = with_windows(model, run.way)
        if run.constraint is not None:
            model = with_constraint(model, run.constraint)
        if run.feature_cache > 1:
            model = with_feature_cache(model, run.feature_cache)
        positive, negative = (
            _conditioning(run.branches[name], len(run.start)) for name in (CONDITIONAL, UNCONDITIONAL)
        )
        if isinstance(run.way, Between | Ring):
            positive = with_way(positive, self._way(run.way, len(run.start)))
        latent = {"samples": self._led_by(run)}
        options = (latent, run.start, sampler, run.sigmas, run.seed, of)
        sampled = sample_latent(model, positive, negative, *options)
        return self._model.model.process_latent_in(sampled["samples"])

    def _led_by(self, run: Run) -> Tensor:
        """Latents that a run starts from in the host, which adds its noise to them."""
        if run.constraint is None or not run.constraint.leads:
            return torch.zeros_like(run.start)
        return self._model.model.process_latent_out(run.constraint.latents).expand_as(run.start)

    def _way(self, way: Between | Ring, frames: int) -> Ends | Shift:
        """A way for a CONDITIONING; raises ValueError for a ring of several tiles."""
        if isinstance(way, Between):
            in_vae_scale = self._model.model.process_latent_out
            conditions = way.branches[CONDITIONAL].conditions
            return Ends(conditions, in_vae_scale(way.start), in_vae_scale(way.end), way.scales)
        if way.length != frames:
            raise ValueError(
                f"the loop has {frames} frames, and the checkpoint takes {way.length} at once; make it with "
                f"the command, or of {way.length} frames."
            )
        return Shift(way.skip)


def _guided(model, run: Run):
    """A MODEL with the terms of a run: its plain guidance, and what follows."""
    plain, *further = run.terms
    model = with_guidance(model, lambda num_frames: (plain,))
    if not further:
        return model
    hooks = {name: branch.hooks for name, branch in run.branches.items()}
    return with_further_terms(model, lambda num_frames: further, hooks)


def _conditioning(branch: Branch, num_frames: int) -> list:
    """CONDITIONING of one branch."""
    conditions = branch.conditions
    options = {VECTOR: conditions.vector, NUM_FRAMES: num_frames}
    if conditions.camera is not None:
        options[TRACK] = conditions.camera
    return conditioning_of(conditions, options)
