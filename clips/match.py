"""A clip's colours and contrast brought back to a frame's: guidance of chunk after chunk burns them out."""

from torch import Tensor


def matched(latents: Tensor, reference: Tensor, amount: float) -> Tensor:
    """Latents, (T, 4, h, w), moved towards the mean and deviation of each channel of a reference.

    reference: (1, 4, h, w). An amount of 1 moves them all the way, 0 not at all. Deviations are the
    population's, over all frames.
    """
    over = {"dim": (0, 2, 3), "keepdim": True}
    deviation = reference.std(**over, correction=0) / latents.std(**over, correction=0)
    target = (latents - latents.mean(**over)) * deviation + reference.mean(**over)
    return latents.lerp(target, amount)
