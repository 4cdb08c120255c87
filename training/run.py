"""Trains the built-in model: torchrun --nproc-per-node 2 -m training.run --output outputs/training

Takes about three hours of two cores. An interrupted run continues when it is started again with as many
processes. Uses a GPU if torch finds one (python -m training.run), which is untested. Writes the weights of
the pack, or the file named by --weights.
"""

import argparse
from copy import deepcopy
from pathlib import Path

import torch

from stillmotion import builtin_model

from . import autoencoder, denoiser, latent_colours, latents, sizes
from .export import export, layout_of
from .loop import RANK, WORLD_SIZE

HOW = "EDM loss on procedural clips of photographs and textures; see MODEL_CARD.md"


def main() -> None:
    """Trains with the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, default=Path("outputs/training"), help="for checkpoints, curves"
    )
    parser.add_argument("--weights", type=Path, default=builtin_model.PATH, help="the file to write")
    arguments = parser.parse_args()
    if WORLD_SIZE > 1:
        torch.set_num_threads(1)
    train(arguments.output, arguments.weights)


def train(folder: Path, weights: Path) -> None:
    """Trains all stages, each from its last checkpoint in the folder, and writes the file of weights."""
    trained = autoencoder.train_pictures(folder)
    sample = autoencoder.pictures(latent_colours.PICTURES)
    autoencoder.standardise(trained, sample)
    encoder, tower = deepcopy(trained.encoder), sizes.image_tower()
    pool = latents.pool(folder, encoder, tower)
    unet = denoiser.train_unet(folder, pool)
    temporal = autoencoder.train_clips(folder, trained)
    if RANK == 0:
        colours = latent_colours.fit(encoder, sample)
        export(weights, layout_of(trained, temporal, unet, tower), HOW, colours)


if __name__ == "__main__":
    main()
