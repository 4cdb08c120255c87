"""What the report measures: likeness, motion, flicker, sharpness. Metrics are scikit-image's and SciPy's."""

from itertools import pairwise

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.registration import optical_flow_ilk

BORDER = 12
"""Pixels at the edge that motion is not measured in: what enters there has no origin."""


def psnr(frame: np.ndarray, other: np.ndarray) -> float:
    """Of two pictures, uint8 (H, W, 3), in dB."""
    return float(peak_signal_noise_ratio(other, frame, data_range=255))


def ssim(frame: np.ndarray, other: np.ndarray) -> float:
    """Structural similarity of two pictures, uint8 (H, W, 3)."""
    return float(structural_similarity(other, frame, channel_axis=2, data_range=255))


def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where the first picture's pixels went, (2, H, W): down, right, in pixels (iterative Lucas-Kanade)."""
    grey = [picture.astype(np.float32).mean(axis=2) / 255 for picture in (first, second)]
    field = np.asarray(optical_flow_ilk(*grey, radius=9, prefilter=True))
    return field[:, BORDER:-BORDER, BORDER:-BORDER]


def steps(frames: np.ndarray) -> np.ndarray:
    """The mean flow vector and its mean length for each pair of neighbours: (T − 1, 3), in pixels a frame."""
    fields = [flow(first, second) for first, second in pairwise(frames)]
    return np.array([(*field.mean(axis=(1, 2)), np.hypot(*field).mean()) for field in fields])


def speed(frames: np.ndarray) -> float:
    """The mean length of the flow, in pixels a frame."""
    return float(steps(frames)[:, 2].mean())


def frame_difference(frames: np.ndarray) -> float:
    """Mean absolute difference of neighbours, in levels of 255."""
    return float(np.abs(np.diff(frames.astype(np.float32), axis=0)).mean())


def temporal_difference_error(frames: np.ndarray, true: np.ndarray) -> float:
    """Root mean square of (difference of neighbours − the true difference), in levels of 255: flicker."""
    error = np.diff(frames.astype(np.float32), axis=0) - np.diff(true.astype(np.float32), axis=0)
    return float(np.sqrt((error**2).mean()))


def sharpness(frame: np.ndarray) -> float:
    """Mean absolute difference of neighbouring pixels, in levels of 255."""
    pixels = frame.astype(np.float32)
    return float(np.abs(np.diff(pixels, axis=0)).mean() + np.abs(np.diff(pixels, axis=1)).mean()) / 2


def best_match(frame: np.ndarray, picture: np.ndarray, reach: int = 40, step: int = 2) -> float:
    """The highest PSNR, over shifts in both directions, between the parts of two pictures that overlap."""
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
