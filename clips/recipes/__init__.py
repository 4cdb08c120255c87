"""Recipes: how clips come about, as generators that compute nothing themselves.

A recipe yields a step and is sent its result; the result of its last step is the clip. Each door performs the
steps with its own networks, so a recipe of several runs is a plain loop, and testable without a network.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..first_frame import FirstFrame
from ..motion.course import Paste
from ..run import Run


@dataclass(frozen=True)
class Encode:
    """Embed a picture and encode its noisy copy, (1, 3, H, W) in [−1, 1] both.

    The result is the context, (1, 1, context_dim), and the latent, (1, 4, h, w), not scaled.
    """

    picture: Tensor
    noisy: Tensor


@dataclass(frozen=True)
class Embed:
    """Embed a picture alone, (1, 3, H, W) in [−1, 1]; the result is its context, (1, 1, context_dim).

    No node has a recipe with this step: in ComfyUI core's CLIP Vision Encode embeds references.
    """

    picture: Tensor


@dataclass(frozen=True)
class Latent:
    """Encode pictures without noise, (N, 3, H, W) in [−1, 1].

    The result is their latents, (N, 4, h, w), in the diffusion model's scale: what sampled frames should be.
    """

    picture: Tensor


@dataclass(frozen=True)
class Sample:
    """Sample a run; the result is latents, (T, 4, h, w), in the diffusion model's scale."""

    run: Run
    number: int = 1  # of the clip's runs, all of as many steps
    total: int = 1


@dataclass(frozen=True)
class Keep:
    """Keep the latents of a clip that goes on, (t, 4, h, w), should it be cut off; the result is not used."""

    latents: Tensor


@dataclass(frozen=True)
class Decode:
    """Decode latents, (T, 4, h, w); the result is the frames, in a form of the door's."""

    latents: Tensor
    frame_wise: bool = False
    last_frame: Tensor | None = None  # (1, 3, H, W) in [−1, 1], in place of the last decoded one
    ring: bool = False  # a loop, whose last frame comes before its first
    paste: Paste | None = None  # over each frame
    first: FirstFrame | None = None  # in place of the first decoded one; pasted over like the others

    def shown(self, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        """Decoded frames, (3, H, W) near [−1, 1], with what is in their place or over them."""
        last = len(self.latents) - 1
        for index, frame in enumerate(frames if self.first is None else self.first.over(frames)):
            if index == last and self.last_frame is not None:
                frame = self.last_frame[0]
            yield frame if self.paste is None else self.paste.over(frame)[0]


Step = Encode | Embed | Latent | Sample | Keep | Decode
Recipe = Generator[Step, Any, None]


def returned(steps: Generator[Step, Any, Any], perform: Callable[[Step], Any]) -> Any:
    """Performs the steps of a part of a recipe, and returns what it returns."""
    result = None
    while True:
        try:
            step = steps.send(result)
        except StopIteration as end:
            return end.value
        result = perform(step)


def drive(recipes: Sequence[Recipe], perform: Callable[[Step], Any]) -> list:
    """Performs the steps of recipes and returns the result of each one's last step.

    The recipes go side by side, a step each in turn, so that a network serves all before the next is loaded.
    """
    results = [None] * len(recipes)
    steps = {number: next(recipe) for number, recipe in enumerate(recipes)}
    while steps:
        for number, step in list(steps.items()):
            results[number] = perform(step)
            try:
                steps[number] = recipes[number].send(results[number])
            except StopIteration:
                del steps[number]
    return results
