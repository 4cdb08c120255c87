"""A pipeline to measure rounding against, for scripts in the host too, whose own Pipeline it takes."""

import torch


def exact(pipeline: type) -> type:
    """The Pipeline of a package, on the CPU, with the UNet and the encoder in float64."""

    class Exact(pipeline):
        def __init__(self, checkpoint):
            super().__init__(checkpoint, device="cpu")
            self.dtype = torch.float64
            self.encoder.double()

        def encode_pictures(self, pictures):
            return super().encode_pictures(pictures.double()).float()

    return Exact
