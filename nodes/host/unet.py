"""Our UNet as the host calls it, and its cache from step to step of a sampling run."""

import logging
from collections.abc import Callable
from functools import lru_cache, partial

import comfy.model_management
import comfy.patcher_extension
import comfy.utils
import torch
from torch import Tensor

from ...svd_model import layerwise
from ...svd_model.networks.feature_cache import FeatureCache
from ...svd_model.networks.hooks import Place
from ...svd_model.networks.operations import without_autocast
from ...svd_model.networks.pieces import Pieces
from ...svd_model.networks.references import References
from ...svd_model.networks.stages import ContractingPath
from ...svd_model.networks.steering import spread
from ...svd_model.networks.unet import RunConstants, UNetParams, VideoUNet
from .early import EarlyCache, Share, share_of
from .feature_cache import cached, interval_of
from .low_pass import with_picture_low_passed
from .operations import with_kernels
from .patches import Patches, controlled, patches_of, wrappers_of
from .references import references_of
from .shared import POSITIONS, attention

logger = logging.getLogger(__name__)

_REPLACEABLE = ("diffusion_model.forward", "diffusion_model._forward")
_MOST_ENTRIES = 4  # of conditionings
_MOST_BRANCHES = 8  # with deep features: of two pictures or four windows
_MOST_TOKENS = 16  # of a cached conditioning: each takes 2.5 MB a clip of 25 frames in float16


class RunCache:
    """Results that later steps of a sampling run take again. Outside of a run the cache is empty.

    During a run only the host's hooks change weights. When the host applies hooks, the cache is emptied.
    running: whether a run is under way. early, features: features of stages, and deep ones.
    """

    def __init__(self):
        self.early = EarlyCache()
        self.end()

    def begin(self) -> None:
        """Start a run with an empty cache."""
        self.end()
        self.running = True

    def end(self) -> None:
        """End the run and empty the cache."""
        self.running, self.features = False, FeatureCache(_MOST_BRANCHES)
        self.forget()

    def forget(self) -> None:
        """Empty the cache, as after a change of weights."""
        self._constants: list[tuple[tuple, RunConstants]] = []
        self.features.clear()
        self.early.forget()

    def constants(
        self,
        unet: ContractingPath,
        context: Tensor,
        y: Tensor,
        num_frames: int,
        camera: Tensor | None = None,
        positions: Tensor | None = None,
        references: References | None = None,
    ) -> RunConstants:
        """Constants from unet.prepare, computed once for equal inputs."""
        inputs = (context, y, num_frames, camera, positions, references)
        if not self.running or context.shape[1] > _MOST_TOKENS:
            return unet.prepare(*inputs)
        for inputs_before, constants in self._constants:
            if all(map(_same, inputs_before, inputs)):
                return constants
        constants = unet.prepare(*inputs)
        self._constants = [(inputs, constants), *self._constants][:_MOST_ENTRIES]
        return constants

    def share(
        self, x: Tensor, num_frames: int, options: dict, patches: Patches, places: tuple[Place, ...]
    ) -> Share | None:
        """What a call shares with others; nothing outside of a run, nor where other nodes patch the UNet."""
        return share_of(x, num_frames, options, places) if self.running and not patches.others else None


def _same(first: Tensor | References | int | None, second: Tensor | References | int | None) -> bool:
    """Whether two inputs are equal, tensors in device, dtype and values."""
    if isinstance(first, References) and isinstance(second, References):
        return all(map(_same, first, second))
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        return type(first) is type(second) and first == second
    if (first.device, first.dtype, first.shape) != (second.device, second.dtype, second.shape):
        return False
    return torch.equal(first, second)


class HostUNet(VideoUNet):
    """Our UNet as the host calls it."""

    def __init__(self, params, *, dtype: torch.dtype, device, operations, **unused_config):
        super().__init__(
            params, operations=with_kernels(operations), attention=attention, dtype=dtype, device=device
        )
        self.dtype = dtype
        self.run_cache = RunCache()
        # Sizes in the words of core's UNet, for nodes that look them up.
        self.in_channels, self.out_channels = params.in_channels, params.out_channels
        self.model_channels, self.channel_mult = params.model_channels, params.channel_mult
        self.num_res_blocks = [params.num_res_blocks] * len(params.channel_mult)
        self.num_head_channels = params.head_channels

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        y: Tensor,
        control=None,
        transformer_options: dict | None = None,
        **conditions,
    ) -> Tensor:
        """Call _forward, through the wrappers of other nodes. The order of the inputs is core's."""
        options = {} if transformer_options is None else transformer_options
        inputs = (x, timesteps, context, y, control, options)
        wrappers = wrappers_of(options)
        if not wrappers:
            return self._forward(*inputs, **conditions)
        executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(self._forward, self, wrappers)
        return executor.execute(*inputs, **conditions)

    def _forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        y: Tensor,
        control,
        transformer_options: dict,
        num_video_frames: int,
        camera: Tensor | None = None,
        reference_tokens: Tensor | None = None,
        reference_shares: Tensor | None = None,
        **conditions,
    ) -> Tensor:
        """Evaluate the UNet once. The name is core's, too."""
        _refuse(conditions)
        with without_autocast(x.device):
            references = references_of(reference_tokens, reference_shares, x)
            inputs = (x, timesteps, context, y, control, num_video_frames, camera, references)
            return self._evaluate(*inputs, transformer_options)

    def _evaluate(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        y: Tensor,
        control: dict | None,
        num_video_frames: int,
        camera: Tensor | None,
        references: References | None,
        options: dict,
    ) -> Tensor:
        patches = patches_of(options)
        if references is not None and (patches.attends or context.shape[1] > 1):
            raise ValueError(
                "a reference has a mask, and a node changes this model's attention or its tokens, which no "
                "place has alone; take that node out, or the mask."
            )
        context, y, camera = (
            None if t is None else comfy.utils.repeat_to_batch_size(t, x.shape[0]).to(x.dtype)
            for t in (context, y, camera)
        )
        self.check_inputs(x, timesteps, context, y, num_video_frames, camera)
        x = with_picture_low_passed(x, timesteps, options)
        compiling = torch.compiler.is_compiling()  # a cached tensor would be built into the graph
        positions = positions_of(options, num_video_frames)
        inputs = (context, y, num_video_frames, camera, positions, references)
        constants = self.prepare(*inputs) if compiling else self.run_cache.constants(self, *inputs)
        shifts = self.shifts(timesteps, constants)
        hooks = controlled(patches.hooks(x, context), control, self.params, x)
        if compiling:
            return self.predict(x, shifts, constants, hooks)
        size = (x.shape, num_video_frames, x.dtype, x.device)
        kept = {"cached": interval_of(options) > 1, "casts": self.dtype != x.dtype}
        planner = partial(planner_for, self.params, *size, **kept)
        share = self.run_cache.share(x, num_video_frames, options, patches, self.places)
        if share is not None and not has_room(planner(early=share.stage)):
            share = None
        predict = cached(self, options)

        def evaluate(pieces: Pieces) -> Tensor:
            early = None if share is None else self.run_cache.early.of(share, x)
            return predict(x, shifts, constants, hooks, pieces=pieces, early=early)

        return within_memory(planner(early=None if share is None else share.stage), evaluate)


@lru_cache(maxsize=32)
def planner_for(
    params: UNetParams,
    shape: tuple[int, ...],
    num_frames: int,
    dtype: torch.dtype,
    device: torch.device,
    **options: bool | int | None,
) -> layerwise.UNetPlanner:
    """Planner for a batch (B·T, C, h, w) of the host's, whose videos stay together."""
    rows, _, height, width = shape
    size = (num_frames, height, width)
    return layerwise.UNetPlanner(params, rows // num_frames, *size, dtype, device, apart=False, **options)


def within_memory(planner: layerwise.UNetPlanner, work: Callable[[Pieces], Tensor]) -> Tensor:
    """Result of work(pieces) by the fastest plan that the free memory holds.

    On out-of-memory the work is done again by a smaller plan; the smallest one's error is the host's own.
    """
    smallest = planner.smallest()
    budget = _room(planner)
    while True:
        plan = planner.in_room(budget)
        try:
            return work(plan.pieces)
        except Exception as error:
            if not layerwise.is_out_of_memory(error) or plan.peak <= smallest.peak:
                raise
        comfy.model_management.soft_empty_cache()  # now that the tensors of the failed call are free
        budget = plan.peak // 2
        logger.info("out of memory; the UNet runs again, in smaller pieces")


def has_room(planner: layerwise.UNetPlanner) -> bool:
    """Whether the free memory holds the smallest plan."""
    return planner.smallest().peak <= _room(planner)


def _room(planner: layerwise.UNetPlanner) -> int:
    return int(layerwise.SHARE_OF_FREE * comfy.model_management.get_free_memory(planner.device))


def positions_of(options: dict, num_frames: int) -> Tensor | None:
    """Positions of a video's frames, (T,), by transformer_options; None for 0, 1, 2 and so on."""
    chosen = options.get(POSITIONS)
    return None if chosen is None else spread(num_frames, chosen)


def _refuse(conditions: dict) -> None:
    """Raise ValueError for inputs of core's UNet that ours does not have."""
    for name in ("time_context", "image_only_indicator"):
        if conditions.get(name) is not None:
            raise ValueError(
                f"a node gives this model {name}, which Stillmotion's UNet does not take; take that node "
                "out, or load the model with core's ImageOnlyCheckpointLoader."
            )


def add_run_callbacks(patcher) -> None:
    """Have a patcher of the host, and all its copies, tell the model where a sampling run begins and ends."""
    calls = comfy.patcher_extension.CallbacksMP
    for kind, callback in (
        (calls.ON_PRE_RUN, _begin),
        (calls.ON_CLEANUP, _end),
        (calls.ON_APPLY_HOOKS, _forget),
    ):
        patcher.add_callback_with_key(kind, "stillmotion", callback)


def _begin(patcher) -> None:
    _refuse_replaced_parts(patcher.object_patches)
    _refuse_windows(patcher.model_options)
    patcher.model.run_cache.begin()


def _refuse_replaced_parts(replaced: dict) -> None:
    """Raise ValueError where a node replaces a part of the UNet, which might not be called.

    The whole UNet, its forward and weights may be replaced, and a part by its compiled self.
    """
    for path, new in replaced.items():
        inside = path.startswith("diffusion_model.") and path not in _REPLACEABLE
        if inside and not isinstance(new, Tensor | torch._dynamo.OptimizedModule):
            raise ValueError(
                f"a node replaces {path}, a part of the UNet that Stillmotion computes in its own way; take "
                "that node out, or load the model with core's ImageOnlyCheckpointLoader."
            )


def _refuse_windows(options: dict) -> None:
    """Raise ValueError for core's Context Windows along any axis but frames, where core itself breaks."""
    handler = options.get("context_handler")
    dim = getattr(handler, "dim", 0)
    if dim != 0:
        raise ValueError(
            f"Context Windows has dim {dim}; the frames of this model are the batch: set dim to 0."
        )


def _end(patcher) -> None:
    patcher.model.run_cache.end()


def _forget(patcher, hooks) -> None:
    patcher.model.run_cache.forget()
