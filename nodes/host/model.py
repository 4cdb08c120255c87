"""MODEL: the host's ModelPatcher over a BaseModel with our UNet in it."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import comfy.utils
from torch import Tensor

from ...clips.conditions import vector
from ...clips.presets import USUAL_MOTION
from ...svd_model import layerwise
from ...svd_model.checkpoint import Checkpoint, notes
from ...svd_model.checkpoint.notes import LatentColours
from ...svd_model.checkpoint.variants import Variant
from ...svd_model.networks.unet import UNetParams
from .feature_cache import add_feature_cache
from .moving import add_moving_preview
from .references import conds_of
from .shared import CAMERA, NUM_FRAMES, REFERENCES, TRACK, VECTOR, WAY
from .unet import HostUNet, add_run_callbacks, planner_for

_VECTOR_OPTIONS = {
    "fps": "fps",
    "motion_bucket_id": "motion_bucket_id",
    "elevation": "elevation",
    "azimuth": "azimuths",
}
"""Options of the host's CONDITIONING -> parameters of clips.conditions.vector."""


class VideoModel(comfy.model_base.BaseModel):
    """The diffusion model of one of our variants, with the conditioning of core's SVD nodes and of ours."""

    def __init__(self, config, checkpoint: Checkpoint, device=None):
        kind = comfy.model_base.ModelType.V_PREDICTION_EDM
        network = partial(HostUNet, checkpoint.unet.params)
        super().__init__(config, kind, device=device, unet_model=network)
        self.variant, self.params = checkpoint.variant, checkpoint.unet.params
        self.notes = {
            name: value for name, value in checkpoint.notes.items() if name != notes.VISION_HEAD_WIDTH
        }
        self.run_cache = self.diffusion_model.run_cache  # kept here: a node may replace the network

    def extra_conds(self, **kwargs) -> dict:
        """The conditions of a batch: of one video, or of several of num_video_frames each."""
        if "time_conditioning" in kwargs:
            raise ValueError(
                f"{kwargs.get('prompt_type', 'the conditioning')} has time_conditioning, a context for "
                "attention over time, which Stillmotion's UNet does not take; take the node out that sets it."
            )
        if WAY in kwargs:
            raise ValueError(
                f"{kwargs.get('prompt_type', 'the conditioning')} has an end picture or a loop, which this "
                "sampler node would ignore; sample with SVD KSampler, or with core's SamplerCustomAdvanced "
                "and the guider of SVD First and Last Frame Guider."
            )
        noise, latent, context = kwargs["noise"], kwargs.get("concat_latent_image"), kwargs.get("cross_attn")
        num_frames = kwargs.get(NUM_FRAMES, noise.shape[0])
        if latent is None or context is None:
            raise ValueError(without_picture(kwargs.get("prompt_type", "the conditioning")))
        _check_sizes(latent, noise, num_frames)
        _check_camera(self, {NUM_FRAMES: num_frames, **kwargs})
        if self.variant.orbit and kwargs.get("motion_bucket_id", USUAL_MOTION) != USUAL_MOTION:
            raise ValueError(motion_without_use("motion_bucket_id", kwargs["motion_bucket_id"], self.variant))
        width = self.params.context_dim
        if context.shape[-1] != width:
            raise ValueError(
                f"the picture's CLIP embedding has {context.shape[-1]} numbers, this model takes {width}: "
                "connect the CLIP_VISION of the model's own checkpoint to SVD Image to Video."
            )
        latent = comfy.utils.repeat_to_batch_size(latent, noise.shape[0])
        conditions = {
            "y": comfy.conds.CONDRegular(self._vectors(num_frames, noise.shape[0], kwargs)),
            "c_concat": comfy.conds.CONDNoiseShape(latent),
            "num_video_frames": comfy.conds.CONDConstant(num_frames),
            "c_crossattn": comfy.conds.CONDCrossAttn(context),
        }
        if REFERENCES in kwargs:
            conditions |= conds_of(kwargs[REFERENCES], noise)
        if TRACK in kwargs:
            rows = kwargs[TRACK].repeat(noise.shape[0] // num_frames, 1)
            conditions["camera"] = comfy.conds.CONDRegular(rows)
        return conditions

    def resize_cond_for_context_window(
        self, cond_key, cond_value, window, x_in, device, retain_index_list=()
    ):
        """The number of frames in a window of core's Context Windows; the host cuts the other conditions.

        Core counts the window's own frames, without the one that its causal_window_fix puts in front.
        """
        if cond_key != "num_video_frames":
            return None
        in_front = getattr(window, "causal_anchor_index", None)
        return comfy.conds.CONDConstant(len(window.index_list) + (in_front is not None))

    def _vectors(self, num_frames: int, rows: int, options: dict) -> Tensor:
        chosen = {ours: options[theirs] for theirs, ours in _VECTOR_OPTIONS.items() if theirs in options}
        noise_aug = options.get("augmentation_level", 0.0)
        vectors = options.get(VECTOR)
        if vectors is None:
            vectors = vector(self.variant, num_frames, noise_aug, **chosen)
        return vectors.repeat(rows // num_frames, 1) if len(vectors) > 1 else vectors

    def state_dict_for_saving(self, unet_state_dict, **others) -> dict:
        """The tensors of a checkpoint; what the file said of itself goes with them, as tensors."""
        saved = super().state_dict_for_saving(unet_state_dict, **others)
        return saved | notes.as_tensors(self.notes)

    def memory_required(self, input_shape, cond_shapes=None) -> int:
        """Bytes of a pass over a batch of a shape, without the weights, by the plan that will run.

        It is the fastest plan with which all weights stay on the device, or else the smallest one.
        """
        if len(input_shape) != 4:  # asked before extra_conds is, with the rows of all conditions at once
            raise ValueError(_of_another_kind(input_shape[1:], self.latent_format.latent_channels))
        management, dtype = comfy.model_management, self.get_dtype_inference()
        device = management.get_torch_device()
        # The host leaves a tenth of the weights' size free beside them, and memory for other programs.
        weights = 1.1 * management.module_size(self.diffusion_model) + management.extra_reserved_memory()
        room = int(layerwise.SHARE_OF_FREE * (management.get_total_memory(device) - weights))
        casts = self.get_dtype() != dtype
        planner = planner_for(self.params, tuple(input_shape), input_shape[0], dtype, device, casts=casts)
        return planner.in_room(room).peak


def check_video_model(model) -> None:
    """Raises ValueError where a MODEL is neither one of ours nor core's SVD or SV3D."""
    if not isinstance(model.model, VideoModel | comfy.model_base.SVD_img2vid):
        raise ValueError(
            f"this model is no video model of SVD's (the host calls it {type(model.model).__name__}); "
            "connect one of SVD Load Checkpoint, or core's SVD."
        )


def keeps_videos_apart(model) -> bool:
    """Whether a MODEL can sample several videos in a batch, as ours does and core's does not."""
    return isinstance(model.model, VideoModel)


def with_feature_cache(model, interval: int):
    """A copy of a MODEL whose deep features are computed only every so many evaluations; 1 is exact."""
    if not isinstance(model.model, VideoModel):
        raise ValueError(
            "this model is not Stillmotion's, which alone can cache its features; connect the MODEL of SVD "
            "Load Checkpoint."
        )
    patched = model.clone()
    add_feature_cache(patched, interval)
    return patched


def check_conditioning(model, name: str, conditioning: list) -> None:
    """Raises ValueError for a CONDITIONING, an input of a node, that does not fit the MODEL."""
    if not conditioning or any(options.get("concat_latent_image") is None for _, options in conditioning):
        raise ValueError(without_picture(name))
    for _, options in conditioning:
        _check_camera(model.model, options)


def in_models_scale(model, latents: Tensor) -> Tensor:
    """Latents of a LATENT in the scale of the diffusion model, in which noise is added."""
    return model.model.process_latent_in(latents)


def check_no_orbit(model, name: str) -> None:
    """Raises ValueError for SV3D, ours or core's, which a node, by its name, does not take."""
    inner, orbits = model.model, (comfy.model_base.SV3D_u, comfy.model_base.SV3D_p)
    if inner.variant.orbit if isinstance(inner, VideoModel) else isinstance(inner, orbits):
        raise ValueError(
            f"this model is SV3D, whose clips are one orbit of a set length; {name} takes svd and svd_xt."
        )


def steering_of(conditioning: list) -> str | None:
    """The words for a network that steers the frames of a CONDITIONING one by one; None without any."""
    for _, options in conditioning:
        for key, what in (("control", "a ControlNet"), (TRACK, "a camera of MotionCtrl's")):
            if key in options:
                return what
    return None


def without_picture(name: str) -> str:
    """Message on a conditioning input that holds no picture."""
    return (
        f"{name} holds no picture to animate, as if it came from a text encoder; connect {name} of SVD Image "
        "to Video, or of core's SVD_img2vid_Conditioning."
    )


def motion_without_use(name: str, motion: int, variant: Variant) -> str:
    """Message on a motion bucket, an input of a node, for a model without one."""
    remedy = f"leave it at {USUAL_MOTION}."
    return f"{name} is {motion}; {variant.name} circles the object and takes none: {remedy}"


def _check_camera(model: comfy.model_base.BaseModel, options: dict) -> None:
    """Raises ValueError for conditioning with a camera where the model, ours or core's, takes none.

    Core's node for SV3D sets one for sv3d_u too, which has no use for it: that passes.
    """
    if isinstance(model, VideoModel):
        name, camera, orbit = model.variant.name, model.variant.camera, model.variant.orbit
    else:
        name, camera = type(model).__name__, isinstance(model, comfy.model_base.SV3D_p)
        orbit = isinstance(model, comfy.model_base.SV3D_p | comfy.model_base.SV3D_u)
    if not camera and (CAMERA in options or ("elevation" in options and not orbit)):
        raise ValueError(
            f"the conditioning has a camera, which goes with sv3d_p; this model ({name}) takes none: take "
            "SVD Orbit out, or load sv3d_p."
        )
    _check_track(model, name, options)
    _check_references(model, options)


def _check_references(model: comfy.model_base.BaseModel, options: dict) -> None:
    """Raises ValueError for references with a mask where the model is core's."""
    if REFERENCES in options and not isinstance(model, VideoModel):
        raise ValueError(
            f"a reference has a mask, which core's model ({type(model).__name__}) would ignore; take the "
            "mask out, or load the model with SVD Load Checkpoint."
        )


def _check_track(model: comfy.model_base.BaseModel, name: str, options: dict) -> None:
    """Raises ValueError for a track of MotionCtrl's where the model takes none, or one of another length."""
    if TRACK not in options:
        return
    if not isinstance(model, VideoModel) or not model.params.camera_dim:
        raise ValueError(
            f"the conditioning has a camera of MotionCtrl's, and this model ({name}) has no layers for it: "
            "take SVD Camera (MotionCtrl) out, or load motionctrl_svd with SVD Load Checkpoint."
        )
    poses, frames = len(options[TRACK]), options.get(NUM_FRAMES)
    if frames is not None and poses != frames:
        raise ValueError(
            f"the camera has {poses} poses, the video {frames} frames: connect SVD Camera (MotionCtrl) "
            "behind the SVD Image to Video that makes the latents."
        )


def _of_another_kind(shape, channels: int) -> str:
    """Message on latents of another kind of model; the shape is of one latent."""
    return (
        f"the latents are of another kind of model, {'×'.join(map(str, shape))} numbers each; SVD's are "
        f"frames of {channels} × height/8 × width/8: connect the latent of SVD Image to Video."
    )


def _check_sizes(latent: Tensor, noise: Tensor, num_frames: int) -> None:
    """Raises ValueError where the latents to sample don't fit the picture's latent and its frames."""
    if noise.ndim != 4 or noise.shape[1] != latent.shape[1]:
        raise ValueError(_of_another_kind(noise.shape[1:], latent.shape[1]))
    if latent.shape[2:] != noise.shape[2:]:
        raise ValueError(
            f"the conditioning is for latents of {latent.shape[3]}×{latent.shape[2]}, the latents are "
            f"{noise.shape[3]}×{noise.shape[2]}: give both nodes the same width and height."
        )
    if noise.shape[0] % num_frames:
        raise ValueError(
            f"the conditioning is for videos of {num_frames} frames, the latents are {noise.shape[0]}, no "
            "whole number of such videos: connect the latent of SVD Image to Video unchanged."
        )
    if noise.shape[0] % latent.shape[0]:
        raise ValueError(
            f"the conditioning holds pictures for {latent.shape[0]} frames, the latents are "
            f"{noise.shape[0]}: connect both from the same SVD Image to Video."
        )


def frames_of_video(conditions: list) -> int:
    """The frames of one video, from the conditions that a video model got."""
    return conditions[0]["model_conds"]["num_video_frames"].cond


def _unet_config(params: UNetParams) -> dict:
    """Sizes in the words of core's detection, which nodes such as FreeU and LoRA loaders look up."""
    places = params.places()
    down, up = ([p for p in places if p.part == part] for part in ("input", "output"))
    residual = [place for predecessor, place in pairwise(down) if place.level == predecessor.level]
    return {
        "in_channels": params.in_channels,
        "out_channels": params.out_channels,
        "model_channels": params.model_channels,
        "channel_mult": list(params.channel_mult),
        "num_res_blocks": [params.num_res_blocks] * len(params.channel_mult),
        "transformer_depth": [int(place.number is not None) for place in residual],
        "transformer_depth_output": [int(place.number is not None) for place in reversed(up)],
        "transformer_depth_middle": 1,
        "context_dim": params.context_dim,
        "adm_in_channels": params.vector_dim,
    }


class OwnLatents(comfy.latent_formats.SD15):
    """Latents of another encoder than SVD's: their previews have colours of their own, and no TAESD."""

    def __init__(self, colours: LatentColours):
        super().__init__()
        self.latent_rgb_factors = [list(row) for row in colours.factors]
        self.latent_rgb_factors_bias = list(colours.bias)
        self.taesd_decoder_name = None


def load_model(
    checkpoint: Checkpoint, reopen: Callable[[], Checkpoint] | None = None, disable_dynamic: bool = False
):
    """The MODEL of a checkpoint, which the host may load again.

    reopen: opens it then, by default from its places. disable_dynamic: without the host's dynamic memory
    where that is on.
    """
    management = comfy.model_management
    network, params = checkpoint.unet, checkpoint.unet.params
    config = comfy.supported_models.SVD_img2vid(_unet_config(params))
    config.unet_config["num_head_channels"] = params.head_channels  # the class has SVD's
    if checkpoint.latent_colours is not None:
        config.latent_format = OwnLatents(checkpoint.latent_colours)
    load_device = management.get_torch_device()
    supported = list(config.supported_inference_dtypes)
    dtype = management.unet_dtype(
        model_params=network.parameters, supported_dtypes=supported, weight_dtype=network.dtypes[0]
    )
    cast_dtype = management.unet_manual_cast(dtype, load_device, supported)
    config.set_inference_dtype(dtype, cast_dtype)
    first_device = management.unet_inital_load_device(network.parameters, dtype)
    model = VideoModel(config, checkpoint, device=first_device)
    plain, usual = comfy.model_patcher.ModelPatcher, comfy.model_patcher.CoreModelPatcher
    patcher = (plain if disable_dynamic else usual)(
        model, load_device=load_device, offload_device=management.unet_offload_device()
    )
    model.load_model_weights(network.tensors(), "", assign=patcher.is_dynamic())
    add_run_callbacks(patcher)
    add_moving_preview(patcher)
    patcher.cached_patcher_init = (_load_again, (reopen or partial(Checkpoint.at, checkpoint.places),))
    return patcher


def _load_again(reopen: Callable[[], Checkpoint], disable_dynamic: bool = False):
    """Loads the MODEL again, for the host to compile it, to hook its weights, or to use another GPU."""
    return load_model(reopen(), reopen, disable_dynamic)
