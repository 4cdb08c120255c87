"""Variants: the released checkpoints, told apart by the numbers that their UNet takes."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from .sizes import CAMERA_DIM


class Conditioning(NamedTuple):
    """Numbers that condition a UNet: the width of their vector, and the checkpoints with such a UNet."""

    vector_dim: int
    checkpoints: str
    orbit: bool = False
    camera: bool = False
    camera_dim: int = 0  # numbers of a frame's camera that its layers take, beside the vector


CONDITIONINGS = {
    "svd": Conditioning(768, "SVD"),  # fps, motion and noise
    "orbit": Conditioning(256, "sv3d_u", orbit=True),  # noise
    "camera": Conditioning(1280, "sv3d_p", orbit=True, camera=True),  # noise, elevation and azimuth
    "motionctrl": Conditioning(768, "MotionCtrl-SVD", camera_dim=CAMERA_DIM),  # as svd, and a camera track
}


@dataclass(frozen=True)
class Variant:
    """A kind of checkpoint: the conditioning of its UNet, and whether its decoder looks over time.

    Frames, width and height are None, or a file's own where its metadata has them.
    """

    name: str
    conditioning: str
    temporal_decoder: bool
    num_frames: int | None = None
    width: int | None = None
    height: int | None = None
    most_frames: int | None = None  # None: any number

    @property
    def vector_dim(self) -> int:
        """The width of the conditioning vector."""
        return CONDITIONINGS[self.conditioning].vector_dim

    @property
    def orbit(self) -> bool:
        """Whether it circles the object in the picture (SV3D) instead of animating the scene."""
        return CONDITIONINGS[self.conditioning].orbit

    @property
    def camera(self) -> bool:
        """Whether it takes the elevation and azimuth of each frame (sv3d_p)."""
        return CONDITIONINGS[self.conditioning].camera

    @property
    def camera_dim(self) -> int:
        """Numbers of a frame's camera that layers of its UNet take: MotionCtrl's 12, or 0."""
        return CONDITIONINGS[self.conditioning].camera_dim

    def check_frames(self, num_frames: int) -> None:
        """Raises ValueError for more frames than are learned, or for one, which has no neighbour."""
        most = self.most_frames
        if most is not None and not 2 <= num_frames <= most:
            raise ValueError(
                f"num_frames is {num_frames}; this checkpoint ({self.name}) has learned the positions of "
                f"{most} frames, and takes 2 to {most}."
            )


SVD_XT = Variant("svd_xt", "svd", temporal_decoder=True)
SVD_XT_IMAGE_DECODER = Variant("svd_xt_image_decoder", "svd", temporal_decoder=False)
SV3D_U = Variant("sv3d_u", "orbit", temporal_decoder=False)
SV3D_P = Variant("sv3d_p", "camera", temporal_decoder=False)
MOTIONCTRL_SVD = Variant("motionctrl_svd", "motionctrl", temporal_decoder=True)

EXVIDEO = Variant("exvideo", "svd", temporal_decoder=True)

DETECTABLE = (SVD_XT, SVD_XT_IMAGE_DECODER, SV3D_U, SV3D_P, MOTIONCTRL_SVD)
"""Keys and shapes of svd and svd_xt are equal: a file counts as svd_xt; the frame count is the user's."""


def find_variant(
    vector_dim: int, frame_wise_decoder: bool, camera_dim: int = 0, frame_positions: int = 0
) -> Variant | None:
    """The variant with that conditioning and that kind of decoder, None if no released checkpoint has it.

    ExVideo and MotionCtrl are known by their UNet, whichever decoder stands beside it.
    frame_positions: of a UNet that has learned them, as ExVideo's over svd_xt, which takes as many frames.
    """
    temporal = not frame_wise_decoder
    if (vector_dim, camera_dim) == (MOTIONCTRL_SVD.vector_dim, MOTIONCTRL_SVD.camera_dim):
        return replace(MOTIONCTRL_SVD, temporal_decoder=temporal)
    if frame_positions and (vector_dim, camera_dim) == (EXVIDEO.vector_dim, EXVIDEO.camera_dim):
        sizes = {"num_frames": frame_positions, "most_frames": frame_positions}
        return replace(EXVIDEO, temporal_decoder=temporal, **sizes)
    for variant in DETECTABLE:
        numbers = (variant.vector_dim, variant.camera_dim)
        if numbers == (vector_dim, camera_dim) and variant.temporal_decoder == temporal:
            return variant
    return None
