"""References of a clip: pictures with their weights, and the mask of where they count, read and fitted."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ..clips.plan import Plan
from ..clips.references import MOST, check_weight
from .files import images
from .files.images import ImageError, Picture
from .files.sources import existing
from .motion import fitted_mask

Reference = Picture | tuple[Picture, float]
"""A caller's reference: a picture, and its weight if that is not 1."""


class Fitted(NamedTuple):
    """Pictures that lead a clip's look, of the clip's size, with their weights; and where, (1, 1, H, W)."""

    references: tuple[tuple[Tensor, float], ...] = ()
    mask: Tensor | None = None

    @property
    def pictures(self) -> tuple[Tensor, ...]:
        """All pictures that sampling depends on."""
        fitted = tuple(picture for picture, _ in self.references)
        return fitted if self.mask is None else (*fitted, self.mask)


def read_references(
    plan: Plan, references: Sequence[Reference] | None, mask: Picture | None = None
) -> Fitted:
    """Reads a caller's references: pictures, or tuples of a picture and its weight.

    Raises ValueError for another weight, too many pictures, or a mask alone, ImageError for no picture.
    """
    choices = list(map(_choice, _listed(references)))
    if mask is not None and not choices:
        raise ValueError("reference_mask says where references count, and there are none; give one of them.")
    if len(choices) > MOST:
        raise ValueError(f"there are {len(choices)} references; give {MOST} at the most.")
    fitted = []
    for number, (picture, weight) in enumerate(choices, start=1):
        name = f"reference {number}"
        check_weight(name, weight)
        try:
            fitted.append((plan.canvas(images.to_tensor(images.read_image(picture))), float(weight)))
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from error
    return Fitted(tuple(fitted), None if mask is None else fitted_mask("the reference mask", mask, plan))


def of_options(options: Namespace, plan: Plan | None) -> Fitted:
    """Reads the references of a command line; without a plan it is only seen that they are there."""
    names = [*(name for name, _ in options.reference), *filter(None, [options.reference_mask])]
    for name in names:
        existing(name)
    return Fitted() if plan is None else read_references(plan, options.reference, options.reference_mask)


def notes_of_references(options: Namespace) -> dict:
    """Names of the files for a clip's metadata, without folders, which are private; and the weights."""
    notes = {}
    if options.reference:
        notes["references"] = [
            {"file": Path(name).name, "weight": weight} for name, weight in options.reference
        ]
    if options.reference_mask is not None:
        notes["reference_mask"] = Path(options.reference_mask).name
    return notes


def _listed(references: Sequence[Reference] | None) -> list:
    if references is None:
        return []
    if not isinstance(references, list | tuple):
        raise ValueError(
            f"references is a {type(references).__name__}; give a list of pictures, or of tuples of a "
            "picture and its weight."
        )
    return list(references)


def _choice(choice: Reference) -> tuple[Picture, float]:
    """A picture and its weight."""
    if isinstance(choice, tuple):
        if len(choice) != 2:
            raise ValueError(f"a reference is a tuple of {len(choice)}; give a picture and its weight.")
        return choice
    return choice, 1.0
