"""The caller's own noise in place of the seed's."""

import numpy as np
import torch
from torch import Tensor

from ..clips.plan import Plan


def checked(noise: Tensor | np.ndarray | None, plan: Plan, shape: tuple[int, ...]) -> Tensor | None:
    """Noise of the caller's in float32 on the CPU, None for none.

    Raises ValueError for another shape, NaN and infinity, and in a clip between pictures.
    """
    if noise is None:
        return None
    plan.refuse_noise()
    try:
        tensor = torch.as_tensor(noise, dtype=torch.float32, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        found = type(noise).__name__
        raise ValueError(f"noise is a {found}; give a tensor or an array of numbers.") from error
    if tuple(tensor.shape) != shape:
        raise ValueError(f"noise has shape {tuple(tensor.shape)}; these settings need {shape}.")
    if not tensor.isfinite().all():
        raise ValueError("noise holds NaN or infinity; give N(0, 1).")
    return tensor
