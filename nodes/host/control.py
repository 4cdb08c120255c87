"""CONTROL_NET: the temporal ControlNet as the host's Apply ControlNet and its samplers use one."""

import copy
from pathlib import Path

import comfy.controlnet
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.supported_models
import comfy.utils
import torch
from torch import Tensor

from ...clips.picture import to_canvas
from ...clips.presets import SVD_XT
from ...svd_model import layerwise
from ...svd_model.checkpoint import Part
from ...svd_model.checkpoint.controlnet import open_controlnet
from ...svd_model.networks.controlnet import PIXELS, WEIGHTINGS, ControlNet
from ...svd_model.networks.operations import without_autocast
from .files import path_of
from .low_pass import with_picture_low_passed
from .operations import with_kernels
from .shared import attention
from .unet import RunCache, planner_for, positions_of, within_memory


def load_controlnet(name: str, weighting: str) -> "TemporalControl":
    """The CONTROL_NET of a file by its name in the host's folder; `weighting` is one of WEIGHTINGS."""
    return controlnet_of(open_controlnet(Path(path_of("control_net", name))), weighting)


def controlnet_of(part: Part, weighting: str) -> "TemporalControl":
    """The CONTROL_NET of an opened file."""
    management = comfy.model_management
    load_device, offload_device = management.get_torch_device(), management.unet_offload_device()
    supported = list(comfy.supported_models.SVD_img2vid.supported_inference_dtypes)
    dtype = management.unet_dtype(
        model_params=part.parameters, supported_dtypes=supported, weight_dtype=part.dtypes[0]
    )
    cast_dtype = management.unet_manual_cast(dtype, load_device, supported)
    operations = comfy.ops.pick_operations(dtype, cast_dtype)
    network = ControlNet(
        part.params,
        operations=with_kernels(operations),
        attention=attention,
        dtype=dtype,
        device=offload_device,
    )
    patcher = comfy.model_patcher.CoreModelPatcher(network, load_device, offload_device)
    network.load_state_dict(part.tensors(), strict=True, assign=patcher.is_dynamic())
    network.eval().requires_grad_(False)
    return TemporalControl(network, patcher, cast_dtype or dtype, weighting)


class TemporalControl(comfy.controlnet.ControlBase):
    """A temporal ControlNet with its pictures, strength and range, which Apply ControlNet sets on a copy.

    Copies share the network. What a run can take again, such as the embedded pictures, is kept until it ends.
    """

    def __init__(self, network: ControlNet, patcher, dtype: torch.dtype, weighting: str):
        super().__init__()
        self._network, self._patcher, self._dtype, self._weighting = network, patcher, dtype, weighting
        self._run_cache = RunCache()
        self._embedding: tuple[tuple, Tensor] | None = None
        self._sampling = None

    def get_control(self, x_noisy: Tensor, t: Tensor, cond: dict, batched_number: int, transformer_options):
        """The residuals by the names of the host, added to an earlier ControlNet's; None where none acts.

        x_noisy: (branches·V·T, 4, h, w) of V videos. t: σ of each row. cond: the batch's conditions.
        """
        earlier = self.previous_controlnet
        if earlier is not None:
            earlier = earlier.get_control(x_noisy, t, cond, batched_number, transformer_options)
        first, last = self.timestep_range or (torch.inf, 0.0)
        if self.strength == 0 or not last <= t[0] <= first:
            return earlier
        with without_autocast(x_noisy.device):
            residuals = self._residuals(x_noisy, t, cond, batched_number, transformer_options)
        weights = WEIGHTINGS[self._weighting](self._network.params)
        for residual, weight in zip(residuals.skips, weights, strict=True):
            residual.mul_(weight)
        control = {"output": list(residuals.skips), "middle": [residuals.middle]}
        return self.control_merge(control, earlier, output_dtype=None)

    def _residuals(self, x_noisy: Tensor, t: Tensor, cond: dict, batched_number: int, options: dict):
        rows, network = len(x_noisy), self._network
        num_frames = cond.get("num_video_frames")
        widths = {"y": network.params.vector_dim, "c_crossattn": network.params.context_dim, "c_concat": None}
        conditions = {name: cond.get(name) for name in widths}
        fits = all(
            tensor is not None and width in (None, tensor.shape[-1])
            for tensor, width in zip(conditions.values(), widths.values(), strict=True)
        )
        if num_frames is None or not fits or self._sampling is None:
            raise ValueError(
                "a temporal ControlNet is connected to a model that is not svd's or svd_xt's; take it out, "
                "or load such a model with SVD Load Checkpoint."
            )
        x = self._sampling.calculate_input(t, x_noisy)
        x, context, y = (
            comfy.utils.repeat_to_batch_size(tensor, rows).to(x_noisy.device, self._dtype)
            for tensor in (torch.cat([x, cond["c_concat"].to(x)], dim=1), cond["c_crossattn"], cond["y"])
        )
        timesteps = self._sampling.timestep(t).float()
        network.check_inputs(x, timesteps, context, y, num_frames)
        x = with_picture_low_passed(x, timesteps, options)
        embedding = self._rows_of(options.get("context_window"), num_frames, rows // batched_number, x)
        positions = positions_of(options, num_frames)
        constants = self._run_cache.constants(network, context, y, num_frames, positions=positions)
        shifts = network.shifts(timesteps, constants)
        casts = next(network.parameters()).dtype != x.dtype
        planner = planner_for(
            network.params, x.shape, num_frames, x.dtype, x.device, casts=casts, controlled=True
        )
        return within_memory(
            planner, lambda pieces: network.residuals(x, shifts, constants, embedding, pieces)
        )

    def _rows_of(self, window, num_frames: int, rows: int, x: Tensor) -> Tensor:
        """Embedded pictures for the rows of a branch, or as many as divide them.

        window: the frames among all, where the host samples a long video in pieces.
        """
        total = rows if window is None else window.total_frames
        embedding = self._embedded(x)
        if len(embedding) == total and window is not None:
            return embedding[window.index_list]
        if len(embedding) in (1, total) or (window is None and len(embedding) == num_frames):
            return embedding
        videos = f"{total} frames" if total == num_frames else f"{total // num_frames} × {num_frames} frames"
        raise ValueError(
            f"Apply ControlNet's image holds {len(embedding)} pictures, and the video has {videos}; connect "
            "one picture for each frame, or a single one for all."
        )

    def _embedded(self, x: Tensor) -> Tensor:
        """The pictures embedded at the size of x, once a run."""
        key = (x.shape[2:], x.dtype, x.device)
        if self._embedding is None or self._embedding[0] != key:
            height, width = (PIXELS * side for side in x.shape[2:])
            pictures = (to_canvas(picture, width, height) for picture in self.cond_hint_original)
            embedded = [self._network.embed(picture.to(x.device, x.dtype)) for picture in pictures]
            self._embedding = key, torch.cat(embedded)
        return self._embedding[1]

    def pre_run(self, model, percent_to_timestep_function) -> None:
        """Begin a run; the function gives σ for a fraction of it."""
        super().pre_run(model, percent_to_timestep_function)
        self._sampling = model.model_sampling
        self._run_cache.begin()

    def cleanup(self) -> None:
        """End a run."""
        self._sampling, self._embedding = None, None
        self._run_cache.end()
        super().cleanup()

    def get_models(self) -> list:
        """Patchers of all networks, for the host to load."""
        return [*super().get_models(), self._patcher]

    def inference_memory_requirements(self, dtype) -> int:
        """Bytes of the residuals of both branches, for pictures of the clip's size."""
        count, _, height, width = self.cond_hint_original.shape
        frames, size = count if count > 1 else SVD_XT.num_frames, (height // PIXELS, width // PIXELS)
        arguments = (self._network.params, 2, frames, *size, self._dtype, self._patcher.load_device)
        plain, controlled = (
            layerwise.UNetPlanner(*arguments, apart=False, controlled=controlled).smallest().peak
            for controlled in (False, True)
        )
        return controlled - plain + super().inference_memory_requirements(dtype)

    def copy(self) -> "TemporalControl":
        """A copy with the network shared, for Apply ControlNet."""
        copied = TemporalControl(self._network, self._patcher, self._dtype, self._weighting)
        self.copy_to(copied)
        return copied

    def deepclone_multigpu(self, load_device, autoregister: bool = False) -> "TemporalControl":
        """A copy with a network of its own, for another GPU."""
        network = copy.deepcopy(self._network)
        patcher = comfy.model_patcher.ModelPatcher(
            network, load_device=load_device, offload_device=comfy.model_management.unet_offload_device()
        )
        cloned = TemporalControl(network, patcher, self._dtype, self._weighting)
        self.copy_to(cloned)
        if autoregister:
            self.multigpu_clones[load_device] = cloned
        return cloned
