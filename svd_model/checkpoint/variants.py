"""The released checkpoints and what each is sampled with by default."""

from dataclasses import dataclass, replace

SIZE_STEP, LARGEST_SIDE = 64, 4096
"""Widths and heights are multiples of the one, in pixels, up to the other."""


def nearest_side(side: int) -> int:
    """The width or height nearest to one that is none; halfway between two it is the larger."""
    return min(max((side + SIZE_STEP // 2) // SIZE_STEP, 1) * SIZE_STEP, LARGEST_SIDE)


@dataclass(frozen=True)
class Variant:
    """A kind of checkpoint, with the defaults of the reference."""

    name: str
    num_frames: int
    width: int
    height: int
    steps: int
    guidance: str
    min_guidance: float
    max_guidance: float
    noise_aug: float
    vector_dim: int
    temporal_decoder: bool

    @property
    def orbit(self) -> bool:
        """Whether it circles the object in the picture (SV3D) instead of animating the scene."""
        return self.vector_dim != SVD.vector_dim

    @property
    def camera(self) -> bool:
        """Whether it takes the elevation and azimuth of each frame (sv3d_p)."""
        return self.vector_dim == SV3D_P.vector_dim

    def for_frames(self, num_frames: int) -> "Variant":
        """The variant whose defaults suit that many frames: svd and svd_xt differ in nothing else."""
        if self.vector_dim != SVD.vector_dim or num_frames != SVD.num_frames:
            return self
        return replace(self, steps=SVD.steps, min_guidance=SVD.min_guidance, max_guidance=SVD.max_guidance)


SVD = Variant("svd", 14, 1024, 576, 25, "linear", 1.0, 2.5, 0.02, 768, True)
SVD_XT = Variant("svd_xt", 25, 1024, 576, 30, "linear", 1.5, 3.0, 0.02, 768, True)
SVD_XT_IMAGE_DECODER = replace(SVD_XT, name="svd_xt_image_decoder", temporal_decoder=False)
SV3D_U = Variant("sv3d_u", 21, 576, 576, 50, "triangle", 1.0, 2.5, 1e-5, 256, False)
SV3D_P = replace(SV3D_U, name="sv3d_p", vector_dim=1280)

DETECTABLE = (SVD_XT, SVD_XT_IMAGE_DECODER, SV3D_U, SV3D_P)
"""svd and svd_xt have the same keys and shapes: a file is taken for svd_xt; the frame count is the user's."""


def find_variant(vector_dim: int, frame_wise_decoder: bool) -> Variant | None:
    """The variant with that conditioning and that kind of decoder, None if no released checkpoint has it."""
    for variant in DETECTABLE:
        if variant.vector_dim == vector_dim and variant.temporal_decoder != frame_wise_decoder:
            return variant
    return None
