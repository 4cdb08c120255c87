"""One stage of training: AdamW with warm-up and cosine, averaged weights, checkpoints and loss curves.

The number of a step seeds its batch, so an interrupted run continues exactly. Under torchrun each process
takes its share of a batch, and gradients are averaged: on a CPU two processes with a thread each are half as
fast again as one process with two threads.
"""

import json
import math
import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from tqdm import tqdm

from .sizes import DEVICE

RANK, WORLD_SIZE = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
"""Number of this process and count of all processes, as torchrun sets them."""

MOST_SKIPPED = 10
"""Steps in a row that may be skipped for infinite gradients; one more ends the training."""

Losses = Callable[[int], dict[str, Tensor]]
"""Computes named losses of a process's share of a batch, from the share's number; "loss" is minimised."""


@dataclass(frozen=True)
class Stage:
    """Settings of one stage of training."""

    name: str
    steps: int
    learning_rate: float
    warm_up: int = 100
    average: float = 0.998  # decay of the averaged weights, a step
    clip: float = 1.0  # largest norm of the gradient
    save_every: int = 100

    def rate(self, step: int) -> float:
        """Learning rate at a step: linear warm-up, then a cosine down to a fiftieth."""
        warm = min(1.0, (step + 1) / self.warm_up)
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.learning_rate * warm * max(cosine, 0.02)


def train(stage: Stage, network: nn.Module, losses: Losses, folder: Path) -> nn.Module:
    """Trains a network's parameters that require a gradient, from the last checkpoint if there is one.

    Returns a network with the averaged weights. Writes into the folder NAME.pt, the checkpoint, NAME.jsonl,
    the losses, and NAME.png, their curves. Raises ValueError for a checkpoint of another number of processes,
    FloatingPointError if gradients stay infinite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network.to(DEVICE)
    checkpoint, log = folder / f"{stage.name}.pt", folder / f"{stage.name}.jsonl"
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=1e-3, fused=True
    )
    averaged = deepcopy(network)
    begin = _resume(checkpoint, stage, network, averaged, optimiser) if checkpoint.exists() else 0
    skipped = 0
    steps = range(begin, stage.steps)
    bar = {"initial": begin, "total": stage.steps, "mininterval": 5, "disable": RANK > 0}
    for step in tqdm(steps, stage.name, **bar):
        for group in optimiser.param_groups:
            group["lr"] = stage.rate(step)
        values = losses(step * WORLD_SIZE + RANK)
        values["loss"].backward()
        skipped = 0 if _descend(optimiser, parameters, stage.clip) else skipped + 1
        if skipped > MOST_SKIPPED:
            raise FloatingPointError(
                f"{stage.name}: infinite gradients at step {step}; lower the learning rate."
            )
        _average(averaged, network, min(stage.average, (1 + step) / (10 + step)))
        if RANK > 0:
            continue
        if step % 10 == 0:
            numbers = {name: round(value.item(), 6) for name, value in values.items()}
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **numbers}) + "\n")
        if (step + 1) % stage.save_every == 0 or step + 1 == stage.steps:
            _save(checkpoint, network, averaged, optimiser, step + 1)
            draw_curves(log)
    return averaged.cpu().eval().requires_grad_(False)


def share(count: int) -> int:
    """Number of a batch's examples for this process; raises ValueError if the batch can't be divided."""
    if count % WORLD_SIZE:
        raise ValueError(f"{count} examples a step can't be dealt to {WORLD_SIZE} processes; take 1 or 2.")
    return count // WORLD_SIZE


def _descend(optimiser, parameters: list[nn.Parameter], clip: float) -> bool:
    """Takes a step down the mean gradient, and clears it; if it is infinite, skips the step: False."""
    _average_gradients(parameters)
    finite = bool(torch.isfinite(nn.utils.clip_grad_norm_(parameters, clip)))
    if finite:
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return finite


def _average_gradients(parameters: list[nn.Parameter]) -> None:
    """Replaces the gradients of every process by their mean over the processes."""
    if WORLD_SIZE == 1:
        return
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    means = (flat / WORLD_SIZE).split([gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """averaged = decay·averaged + (1 − decay)·network; a growing decay forgets the first weights."""
    targets, sources = list(averaged.parameters()), list(network.parameters())
    torch._foreach_lerp_(targets, sources, 1 - decay)


def _resume(path: Path, stage: Stage, network: nn.Module, averaged: nn.Module, optimiser) -> int:
    """Restores everything from a checkpoint; returns the number of steps taken."""
    state = torch.load(path, weights_only=True, map_location=DEVICE)
    if state["step"] < stage.steps and state["processes"] != WORLD_SIZE:
        raise ValueError(
            f"{path} is of {state['processes']} processes and this is a run of {WORLD_SIZE}; "
            f"go on with --nproc-per-node {state['processes']}, or with another folder."
        )
    network.load_state_dict(state["network"])
    averaged.load_state_dict(state["averaged"])
    optimiser.load_state_dict(state["optimiser"])
    return state["step"]


def _save(path: Path, network: nn.Module, averaged: nn.Module, optimiser, step: int) -> None:
    """Writes a checkpoint atomically: there is never an unfinished file under its name."""
    partial = path.with_suffix(".partial")
    state = {"network": network.state_dict(), "averaged": averaged.state_dict()}
    state |= {"optimiser": optimiser.state_dict(), "step": step, "processes": WORLD_SIZE}
    torch.save(state, partial)
    partial.replace(path)


def draw_curves(log: Path) -> None:
    """Draws the losses of a log over the steps, as a PNG beside it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    by_step = {row["step"]: row for row in map(json.loads, log.read_text(encoding="utf-8").splitlines())}
    rows = [by_step[step] for step in sorted(by_step)]
    names = [name for name in rows[0] if name != "step"]
    figure, axes = pyplot.subplots(1, len(names), figsize=(4.5 * len(names), 3.2), squeeze=False)
    for name, axis in zip(names, axes[0], strict=True):
        values = [row[name] for row in rows]
        axis.plot([row["step"] for row in rows], values, linewidth=0.6)
        scale = "linear" if any(value <= 0 for value in values) else "log"  # a logarithmic loss, or an error
        axis.set(title=name, xlabel="step", yscale=scale)
    figure.suptitle(log.stem)
    figure.tight_layout()
    figure.savefig(log.with_suffix(".png"), dpi=90)
    pyplot.close(figure)
