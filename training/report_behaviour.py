"""Report on the effects of conditioning: picture, motion bucket, guidance, noise, fps, σ_max."""

import numpy as np
from scipy.stats import spearmanr

from stillmotion.headless.files.images import to_uint8
from stillmotion.headless.pipeline import Pipeline

from . import clips, measures
from .held_out import animate, table

BUCKETS = (15, 70, 127, 190, 250)
FEW_STEPS = {"schedule": "align_your_steps"}
NO_GUIDANCE = {"guidance": (1.0,)}


def first_frame(pipeline: Pipeline, crops: list[np.ndarray]) -> str:
    """Measures the likeness of frame 0 to the input, with default settings."""
    videos = animate(pipeline, crops, "first frame")
    values = np.array(
        [[measures.psnr(v[0], c), measures.ssim(v[0], c)] for v, c in zip(videos, crops, strict=True)]
    )
    low = int((values[:, 0] < 20).sum())
    line = [values[:, 0].mean(), values[:, 0].min(), values[:, 0].max(), values[:, 1].mean(), low]
    header = ["PSNR, mean (dB)", "lowest", "highest", "SSIM, mean", "pictures below 20 dB"]
    return f"### Frame 0 against the input, {len(crops)} pictures, defaults\n\n{table(header, [line])}"


def motion_bucket(pipeline: Pipeline, crops: list[np.ndarray]) -> str:
    """Measures speed and frame difference at five motion buckets, fps 6 and 10 steps."""
    speeds = np.zeros((len(BUCKETS), len(crops)))
    differences = np.zeros_like(speeds)
    for row, bucket in enumerate(BUCKETS):
        videos = animate(pipeline, crops, f"bucket {bucket}", motion_bucket_id=bucket, **FEW_STEPS)
        speeds[row] = [measures.speed(video) for video in videos]
        differences[row] = [measures.frame_difference(video) for video in videos]
    rows = []
    for row, bucket in enumerate(BUCKETS):
        true = clips.FASTEST * bucket / 255 / 6
        rows.append(
            [bucket, true, speeds[row].mean(), float(np.median(speeds[row])), differences[row].mean()]
        )
    header = ["motion bucket", "speed in training (px/frame)", "measured, mean", "median", "frame difference"]
    all_buckets = np.repeat(BUCKETS, len(crops))
    within_pictures = [spearmanr(BUCKETS, differences[:, index]).statistic for index in range(len(crops))]
    correlations = table(
        [
            "Spearman's ρ with the bucket",
            "of the mean over pictures",
            "of all clips",
            "mean within a picture",
        ],
        [
            [
                "frame difference",
                spearmanr(BUCKETS, differences.mean(1)).statistic,
                spearmanr(all_buckets, differences.ravel()).statistic,
                np.nanmean(within_pictures),
            ],
            [
                "speed",
                spearmanr(BUCKETS, speeds.mean(1)).statistic,
                spearmanr(all_buckets, speeds.ravel()).statistic,
                np.nanmean([spearmanr(BUCKETS, speeds[:, index]).statistic for index in range(len(crops))]),
            ],
        ],
    )
    return f"### Motion bucket, {len(crops)} pictures, 10 steps\n\n{table(header, rows)}\n{correlations}"


def motion_statistics(pipeline: Pipeline, crops: list[np.ndarray]) -> str:
    """Compares kinds, directions and speeds of generated clips with true clips of equal bucket and fps."""
    rng = np.random.default_rng(3)
    motions = [clips.random_motion(rng) for _ in crops]
    conditions = [{"motion_bucket_id": int(motion.motion_bucket_id), "fps": motion.fps} for motion in motions]
    generated = animate(pipeline, crops, "statistics", conditions, **FEW_STEPS)
    true = [to_uint8(clips.random_clip(rng, motion, held_out=True)[0]) for motion in motions]
    expected = np.array([motion.step for motion in motions])
    rows = []
    for name, videos in (("true clips", true), ("generated", generated)):
        shifts = [measures.shifts(video) for video in videos]
        straightness = [np.hypot(*s.mean(axis=0)) / max(np.hypot(*s.T).mean(), 1e-6) for s in shifts]
        straight = np.array(straightness) > 0.7
        down, right = np.array([measures.velocity(video) for video in videos]).T
        sideways = straight & (np.abs(right) > np.abs(down))
        speeds = np.hypot(down, right)
        moving = expected > 0.2
        rows.append(
            [
                name,
                f"{straight.mean():.0%}",
                f"{sideways.sum() / straight.sum():.0%}",
                f"{(right[sideways] < 0).mean():.0%}",
                (speeds[moving] / expected[moving]).mean(),
                spearmanr(expected, speeds).statistic,
            ]
        )
    header = [
        "",
        "straight (shifts' mean > 0.7 of their mean length)",
        "of these sideways",
        "of these with the camera to the right",
        "measured speed / speed asked for",
        "Spearman's ρ of both",
    ]
    return f"### Direction and speed, {len(crops)} clips of random bucket and fps\n\n{table(header, rows)}"


def guidance(pipeline: Pipeline, crops: list[np.ndarray]) -> str:
    """Measures how much of the picture is left in the last frame, without and with guidance."""
    crops, rows = crops[:16], []
    for name, settings in (
        ("none (1)", NO_GUIDANCE),
        ("linear 1 → 3", {"guidance": "linear", "min_guidance": 1.0, "max_guidance": 3.0}),
        ("constant 3", {"guidance": (3.0,)}),
    ):
        videos = animate(pipeline, crops, f"guidance {name}", **settings, **FEW_STEPS)
        pairs = list(zip(videos, crops, strict=True))
        rows.append(
            [
                name,
                np.mean([measures.best_match(video[-1], crop) for video, crop in pairs]),
                np.mean([measures.sharpness(video[-1]) / measures.sharpness(crop) for video, crop in pairs]),
                np.mean([measures.psnr(video[0], crop) for video, crop in pairs]),
                np.mean([measures.speed(video) for video in videos]),
            ]
        )
    header = [
        "guidance",
        "last frame on the shifted picture (dB)",
        "its sharpness / the picture's",
        "frame 0 (dB)",
        "speed (px/frame)",
    ]
    return f"### Guidance, {len(crops)} pictures, 10 steps\n\n{table(header, rows)}"


def conditioning(pipeline: Pipeline, crops: list[np.ndarray]) -> str:
    """Measures the effects of noise augmentation, fps and σ_max, at ten steps each."""
    crops = crops[:6]
    sections = []
    for title, name, values, extra in (
        ("Noise augmentation", "noise_aug", (0.0, 0.02, 0.3, 1.0), FEW_STEPS),
        ("Frames a second", "fps", (5.0, 6.0, 12.0), FEW_STEPS),
        ("σ_max", "sigma_max", (1.0, 20.0, 700.0), {"steps": 10}),
    ):
        rows = []
        for value in values:
            videos = animate(pipeline, crops, f"{name} {value:g}", **{name: value}, **extra)
            pairs = list(zip(videos, crops, strict=True))
            rows.append(
                [
                    f"{value:g}",
                    np.mean([measures.psnr(video[0], crop) for video, crop in pairs]),
                    np.mean([measures.psnr(video[7], crop) for video, crop in pairs]),
                    np.mean([measures.speed(video) for video in videos]),
                    np.mean([measures.frame_difference(video) for video in videos]),
                ]
            )
        header = [
            name,
            "frame 0 against the input (dB)",
            "frame 7 against the input (dB)",
            "speed (px/frame)",
            "frame difference",
        ]
        sections.append(f"### {title}, {len(crops)} pictures, 10 steps\n\n{table(header, rows)}")
    return "\n".join(sections)
