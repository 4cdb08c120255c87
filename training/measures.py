"""Measures of the report: likeness, motion, flicker, sharpness. Metrics are scikit-image's."""

import numpy as np
from skimage.feature import match_template
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

STRIDE, REACH = 4, 16
"""Frames between two compared frames, and the largest shift found: 4 pixels a frame; clips reach 2.8."""


def psnr(frame: np.ndarray, other: np.ndarray) -> float:
    """Of two pictures, or two clips, uint8 (…, H, W, 3), in dB."""
    return float(peak_signal_noise_ratio(other, frame, data_range=255))


def ssim(frame: np.ndarray, other: np.ndarray) -> float:
    """Structural similarity of two pictures, uint8 (H, W, 3)."""
    return float(structural_similarity(other, frame, channel_axis=2, data_range=255))


def shift(first: np.ndarray, later: np.ndarray, reach: int = REACH) -> tuple[float, float]:
    """Shift from the first picture to the later one, down and right, in pixels: uint8 (H, W, 3).

    Found at the maximum of the normalised correlation of the first one's middle, to a fraction of a pixel.
    Optical flow is no alternative: on soft frames with mostly smooth pixels it measures mostly its own error.
    """
    first, later = (picture.astype(np.float32).mean(axis=2) for picture in (first, later))
    likeness = match_template(later, first[reach:-reach, reach:-reach])
    down, right = np.unravel_index(likeness.argmax(), likeness.shape)
    column, row = likeness[:, right], likeness[down]
    return down + _summit(column, down) - reach, right + _summit(row, right) - reach


def shifts(frames: np.ndarray) -> np.ndarray:
    """Shifts of a clip, uint8 (T, H, W, 3), over STRIDE frames each: (T − STRIDE, 2), in pixels."""
    return np.array([shift(first, later) for first, later in zip(frames, frames[STRIDE:], strict=False)])


def _summit(values: np.ndarray, index: int) -> float:
    """Summit of the parabola through a maximum and its neighbours, relative to the index: −½ … ½."""
    if not 0 < index < len(values) - 1:
        return 0.0
    previous, middle, following = values[index - 1 : index + 2]
    curvature = previous - 2 * middle + following
    return float((previous - following) / (2 * curvature)) if curvature < 0 else 0.0


def velocity(frames: np.ndarray) -> np.ndarray:
    """Median shift of a clip, uint8 (T, H, W, 3): down and right, in pixels a frame."""
    return np.median(shifts(frames), axis=0) / STRIDE


def speed(frames: np.ndarray) -> float:
    """Length of a clip's velocity, in pixels a frame."""
    return float(np.hypot(*velocity(frames)))


def frame_difference(frames: np.ndarray) -> float:
    """Mean absolute difference of neighbouring frames of a clip, uint8 (T, H, W, 3), in levels of 255."""
    return float(np.abs(np.diff(frames.astype(np.float32), axis=0)).mean())


def temporal_difference_error(frames: np.ndarray, true: np.ndarray) -> float:
    """Flicker: root mean square of (frame difference − true frame difference), in levels of 255.

    frames, true: clips, uint8 (T, H, W, 3).
    """
    error = np.diff(frames.astype(np.float32), axis=0) - np.diff(true.astype(np.float32), axis=0)
    return float(np.sqrt((error**2).mean()))


def sharpness(frame: np.ndarray) -> float:
    """Mean absolute difference of neighbouring pixels of a picture, uint8 (H, W, 3), in levels of 255."""
    pixels = frame.astype(np.float32)
    return float(np.abs(np.diff(pixels, axis=0)).mean() + np.abs(np.diff(pixels, axis=1)).mean()) / 2


def best_match(frame: np.ndarray, picture: np.ndarray, reach: int = 40, step: int = 2) -> float:
    """The highest PSNR in dB between the parts that overlap of two pictures, uint8 (H, W, 3).

    Over shifts in both directions, in steps of so many pixels.
    """
    best = 0.0
    size = picture.shape[0]
    frame, picture = frame.astype(np.float32), picture.astype(np.float32)
    for down in range(-reach, reach + 1, step):
        for right in range(-reach, reach + 1, step):
            top, left = max(down, 0), max(right, 0)
            height, width = size - abs(down), size - abs(right)
            part = frame[max(-down, 0) : max(-down, 0) + height, max(-right, 0) : max(-right, 0) + width]
            origin = picture[top : top + height, left : left + width]
            error = ((part - origin) ** 2).mean()
            best = max(best, 10 * np.log10(255**2 / max(error, 1e-6)))
    return float(best)
