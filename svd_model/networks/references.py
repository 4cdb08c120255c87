"""Further tokens of a cross-attention to one token, each of which counts in a share of every place.

Softmax over one key is 1, and all that follows is linear: so the share of a token is the share of its output.
"""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional


class References(NamedTuple):
    """Further tokens beside a context of one token, and their shares."""

    tokens: Tensor  # as differences to the context's, (B·T, K, context_dim)
    shares: Tensor  # (B·T, K, H, W) of latents or features; for a layer as Placed has them

    def at_level(self, level: int) -> "References":
        """References whose shares are of features that have been halved so often."""
        return self._replace(shares=functional.avg_pool2d(self.shares, 2**level))

    def of_layers(self, num_frames: int) -> tuple["References", "References"]:
        """References of a layer over space, and of one over time, which has its video's first tokens."""
        shares = self.shares.flatten(2).mT  # (B·T, K, H, W) -> (B·T, S, K)
        of_videos = shares.unflatten(0, (-1, num_frames))
        return References(self.tokens, shares), References(self.tokens[::num_frames], of_videos)


class Placed(NamedTuple):
    """Output of a cross-attention to one token, and what further tokens add to it at each place."""

    output: Tensor  # (N, 1, dim)
    changes: Tensor  # of each further token, (N, K, dim)
    shares: Tensor  # (N, S, K), or of a video (N, T, S, K)

    def of_rows(self, rows: slice = slice(None)) -> Tensor:
        """The output at each place of some rows, (rows, S, dim)."""
        return self.output[rows] + self.shares[rows] @ self.changes[rows]

    def of_positions(self, positions: slice = slice(None)) -> Tensor:
        """The output of videos at some positions, (N, T, positions, dim)."""
        return self.output[:, None] + self.shares[:, :, positions] @ self.changes[:, None]
