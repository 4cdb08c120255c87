"""Trains the built-in model: torchrun --nproc-per-node 2 -m training.run --output outputs/training

Run it again to go on where it was cut off, with as many processes. About three hours of two cores; a GPU is
taken where torch finds one (python -m training.run), which was not tried. It writes the weights of the pack,
unless --weights says where else.
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
    """The command line."""
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
    """All stages, each from its last checkpoint in the folder; then the file of weights."""
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
