"""Moving previews: all frames of a clip in one picture, and before it an event that says how they lie."""

import math
import time
from collections.abc import Callable, Iterable

import comfy.patcher_extension
import comfy.utils
import latent_preview
import torch
from PIL import Image
from torch import Tensor

from ...clips.presets import USUAL_FPS
from .preview_events import announce, are_wanted, is_of_page
from .previews import columns_and_rows, frames_of_sheet, sheet_maker, sheet_of_batch, sheet_of_images
from .values import frames_in_run

SHARE = 0.05
"""Part of a step's time that a preview may take on the average."""


class Pace:
    """Choice of the steps whose previews are shown, so that they take no more than a share of the time."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock, self._cost = clock, 0.0
        self._resumed, self._shown = clock(), None

    def is_due(self, step: int, is_last: bool) -> bool:
        """Whether the preview of a step is to be shown; call it once a step, before the preview."""
        now = self._clock()
        step_time = max(now - self._resumed, 1e-6)
        self._resumed = now
        due = self._shown is None or step - self._shown >= math.ceil(self._cost / (SHARE * step_time))
        if due or is_last:
            self._shown = step
        return due or is_last

    def spend(self, on_device: float = 0.0) -> None:
        """Count the time since is_due as the preview's, and seconds that it took on a GPU meanwhile."""
        now = self._clock()
        self._cost, self._resumed = now - self._resumed + on_device, now


class Preview:
    """A callback(step, x0, x, total) that tells the page the progress and shows the first video of x0.

    On a GPU a picture is shown a step late, but for the last: a wait for it would leave the GPU idle.
    """

    def __init__(self, make_sheet: Callable[[Tensor], Tensor], steps: int, num_frames: int, fps: float):
        self._make, self._num_frames, self._fps = make_sheet, num_frames, fps
        self._bar, self._pace = comfy.utils.ProgressBar(steps), Pace()
        self._pending: _Sheet | None = None

    def __call__(self, step: int, x0: Tensor, x: Tensor, total: int) -> None:
        """Show a step, if it is due."""
        is_last = step + 1 >= total
        is_due = self._pace.is_due(step, is_last)
        sheet, self._pending = self._pending, None
        if is_due:
            self._pending = _Sheet(self._make, x0, self._num_frames, step)
        if is_last or not x0.is_cuda:
            sheet, self._pending = self._pending, None
        picture = None
        if sheet is not None:
            picture = ("JPEG", sheet.picture(), latent_preview.MAX_PREVIEW_RESOLUTION)
            announce(sheet.step + 1, total, sheet.layout, self._fps / sheet.stride)
        self._bar.update_absolute(step + 1, total, picture)
        if is_due or sheet is not None:
            self._pace.spend(sheet.seconds_on_gpu() if sheet else 0.0)


class _Sheet:
    """A picture of frames, which may be on its way from a GPU."""

    def __init__(self, make: Callable[[Tensor], Tensor], x0: Tensor, num_frames: int, step: int):
        frames, self.stride = frames_of_sheet(x0, num_frames)
        self.step, self.layout = step, (len(frames), *columns_and_rows(len(frames)))
        self._start, self._end = self._mark(x0), None
        self._pixels = make(frames).to("cpu", non_blocking=x0.is_cuda)
        self._end = self._mark(x0)

    @staticmethod
    def _mark(x0: Tensor) -> torch.cuda.Event | None:
        if not x0.is_cuda:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def picture(self) -> Image.Image:
        """The picture, when it is here."""
        if self._end is not None:
            self._end.synchronize()
        return Image.fromarray(self._pixels.numpy())

    def seconds_on_gpu(self) -> float:
        """The time that a GPU took for it."""
        return 0.0 if self._end is None else self._start.elapsed_time(self._end) / 1000


def preview_callback(
    model, steps: int, num_frames: int, fps: float = USUAL_FPS
) -> Callable[[int, Tensor, Tensor, int], None]:
    """A callback(step, x0, x, total) that tells the page the progress, and shows x0 if previews are wanted.

    x0 holds videos of num_frames each.
    """
    make_sheet = sheet_maker(model) if are_wanted() else None
    if make_sheet is None:
        bar = comfy.utils.ProgressBar(steps)
        return lambda step, x0, x, total: bar.update_absolute(step + 1, total)
    if _shows_frames_itself(_host_previewer(model)):
        return latent_preview.prepare_callback(model, steps)
    return Preview(make_sheet, steps, num_frames, fps)


def add_moving_preview(patcher) -> None:
    """Has core's samplers show all frames of a MODEL of ours, too.

    Where the host's previews are the colours of latents, its picture becomes the sheet of them.
    """
    patcher.model.latent_format.latent_rgb_factors_reshape = sheet_of_batch
    kind = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
    patcher.add_wrapper_with_key(kind, "stillmotion_preview", _outer_sample)


def _outer_sample(executor, noise, latent, sampler, sigmas, mask=None, callback=None, *args, **options):
    if getattr(callback, "__module__", None) == latent_preview.__name__:  # core's own sampler nodes have it
        callback = _with_all_frames(executor.class_obj, callback, len(sigmas) - 1)
    return executor(noise, latent, sampler, sigmas, mask, callback, *args, **options)


def _with_all_frames(guider, callback: Callable, steps: int) -> Callable:
    """The callback of one of core's samplers, with a moving preview before it."""
    model = guider.model_patcher
    previewer = _host_previewer(model)
    if _shows_frames_itself(previewer) or not are_wanted():
        return callback
    fps = fps_of(guider.conds.get("positive", ()))
    if isinstance(previewer, latent_preview.Latent2RGBPreviewer):

        def announced(step: int, x0: Tensor, x: Tensor, total: int) -> None:
            shown, stride = frames_of_sheet(x0, len(x0))
            frames = math.ceil(frames_in_run(guider, len(x0)) / stride)
            announce(step + 1, total, (frames, *columns_and_rows(len(shown))), fps / stride)
            callback(step, x0, x, total)

        return announced
    make_sheet = sheet_maker(model) if is_of_page() else None
    if make_sheet is None:
        return callback
    preview = None

    def shown_before(step: int, x0: Tensor, x: Tensor, total: int) -> None:
        nonlocal preview
        preview = preview or Preview(make_sheet, steps, frames_in_run(guider, len(x0)), fps)
        preview(step, x0, x, total)
        callback(step, x0, x, total)

    return shown_before


def fps_of(conditioning: Iterable[dict]) -> float:
    """Frames a second, by the options of a conditioning; SVD's usual ones where it says none."""
    for options in conditioning:
        fps = options.get("fps")
        if isinstance(fps, int | float) and 0 < fps < math.inf:
            return float(fps)
    return USUAL_FPS


def show_frames(images: Tensor, fps: float) -> None:
    """Shows a finished clip, (T, H, W, 3) in [0, 1], in the host's page alone."""
    if not (are_wanted() and is_of_page()):
        return
    frames, stride = frames_of_sheet(images, len(images))
    sheet, layout = sheet_of_images(frames), (len(frames), *columns_and_rows(len(frames)))
    announce(1, 1, layout, fps / stride)
    picture = ("JPEG", Image.fromarray(sheet.cpu().numpy()), latent_preview.MAX_PREVIEW_RESOLUTION)
    comfy.utils.ProgressBar(1).update_absolute(1, 1, picture)


def _host_previewer(model):
    """The previewer that the host would take, None where its previews are off."""
    try:
        return latent_preview.get_previewer(model.load_device, model.model.latent_format)
    except Exception:  # of many types: files in a user's folder may hold anything
        return None


def _shows_frames_itself(previewer) -> bool:
    """Whether another pack has put its own in its place, such as VideoHelperSuite's: it takes all frames."""
    return previewer is not None and type(previewer).__module__ != latent_preview.__name__
