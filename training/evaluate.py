"""Measures the built-in model on held-out pictures: python -m training.evaluate --output outputs/report.md

Takes about two and a half hours of one core, most of them for clips over time. Sections can be named on the
command line, so that two processes share them, each with its own --output. The tables of "What it does,
measured" in builtin_model/MODEL_CARD.md come from this report.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from stillmotion import builtin_model
from stillmotion.headless.pipeline import Pipeline

from . import report_behaviour, report_motion, report_sampling, report_time, report_vae
from .held_out import pictures

SECTIONS: dict[str, Callable[[Pipeline, list[np.ndarray]], str]] = {
    "reconstruction": report_vae.reconstruction,
    "flicker": report_vae.flicker,
    "first-frame": report_behaviour.first_frame,
    "motion": report_behaviour.motion_bucket,
    "statistics": report_behaviour.motion_statistics,
    "guidance": report_behaviour.guidance,
    "solvers": report_sampling.solvers,
    "conditioning": report_behaviour.conditioning,
    "last-frame": report_time.last_frame,
    "loops": report_time.loops,
    "long": report_time.long_clips,
    "camera": report_motion.cameras,
    "drag": report_motion.drags,
    "freeze": report_motion.frozen,
}
PICTURES = 32


def main() -> None:
    """Writes all sections of the report, or the sections named on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("outputs/report.md"), help="the file to write")
    parser.add_argument("--weights", type=Path, default=builtin_model.PATH, help="the file to measure")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--threads", type=int, help="how many cores to use")
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; all of them if none is named")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"no section is called {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}.")
    pipeline = Pipeline.open(arguments.weights, device="cpu")
    chosen = arguments.sections or list(SECTIONS)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text("", encoding="utf-8")
    for name in chosen:
        text = SECTIONS[name](pipeline, pictures(arguments.pictures))
        with arguments.output.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        print(text, flush=True)


if __name__ == "__main__":
    main()
