"""Methods over time against the numbers of their papers' equations, and of their authors' code."""

import pytest
import torch
from torch import Tensor

from stillmotion.clips.match import matched
from stillmotion.samplers import windows
from stillmotion.samplers.bidirectional import End, fading, mpd, mpd_trf, vibid
from stillmotion.samplers.denoisers import flipped, fused, shifted, windowed
from stillmotion.samplers.guidance import cfg, guided
from stillmotion.samplers.returning import returning_euler, time_reversal_steps
from stillmotion.samplers.schedules import karras
from stillmotion.samplers.solvers import euler, heun
from support.golden_time import (
    SIGMAS,
    check,
    control_picture,
    counted_noise,
    draw,
    ramp,
    time_noise,
    time_picture,
    time_start,
)

FRAMES = 5
AT, SIGMA = 4 * draw("time.x", FRAMES, 4, 8, 12), torch.tensor(3.7, dtype=torch.float64)


def end(picture, scale: float = 1.0, frames: int = FRAMES) -> End:
    return End(picture.evaluate, picture.latent, torch.full((frames,), scale, dtype=torch.float64))


def both(picture=time_picture, low: float = 1, high: float = 3, frames: int = FRAMES):
    """The denoiser of time-reversal fusion."""
    scales = ramp(low, high, frames)
    start, end = picture("start").guided(scales), picture("end").guided(scales)
    return fused(start, flipped(end), fading(frames))


def test_golden_time_closed_form():
    check("time.sigmas", SIGMAS)
    start, last = time_picture("start"), time_picture("end")
    conditional, unconditional = start.estimates(AT, SIGMA)
    check("time.denoised.start", conditional)
    check("time.denoised.none", unconditional)
    check("time.denoised.end", last.estimates(AT, SIGMA)[0])
    check("time.plain", euler(time_picture("start").guided(ramp(1, 3, 5)), time_start(), SIGMAS, noise=None))


def test_golden_time_reversal_fusion():
    check("time.trf.fused", both()(AT, SIGMA))
    check("time.trf", euler(both(), time_start(), SIGMAS, noise=None))
    check("time.trf.heun", heun(both(), time_start(), SIGMAS, noise=None))


@pytest.mark.parametrize(
    "name, samples, share, strength", [("reinject", 2, 0.6, 0.95), ("reinject_twice", 3, 0.4, 1.0)]
)
def test_golden_time_reversal_fusion_returns(name: str, samples: int, share: float, strength: float):
    after = time_reversal_steps(10, length=2, share=share)
    options = {"after": after, "length": 2, "times": samples - 1, "strength": strength}
    x = returning_euler(both(), time_start(), SIGMAS, noise=time_noise(), **options)
    check(f"time.trf.{name}", x)


def test_golden_time_generative_inbetweening():
    scales, half = torch.full((5,), 2.0), torch.full((5,), 0.5)
    mean = fused(time_picture("start").guided(scales), flipped(time_picture("end").guided(scales)), half)
    for name, denoise in (("time.gi", mean), ("time.gi.weighted", both())):
        options = {"noise": time_noise(), "after": range(5), "times": 2}
        check(name, returning_euler(denoise, time_start(), SIGMAS, **options))


def test_golden_time_vibid():
    pictures = end(time_picture("start")), end(time_picture("end"))
    check("time.vibid", vibid(*pictures, time_start(), SIGMAS, noise=time_noise()))
    seen = []
    vibid(
        *pictures, time_start(), SIGMAS, noise=time_noise(), callback=lambda step, x, denoised: seen.append(x)
    )
    check("time.vibid.step_0", seen[1])
    scaled = end(time_picture("start"), 1.5), end(time_picture("end"), 2)
    check("time.vibid.scaled", vibid(*scaled, time_start(), SIGMAS, noise=time_noise()))


def test_golden_time_keyframes():
    middle = {2: draw("time.middle.latent", 4, 8, 12)[None]}
    pictures = end(time_picture("start")), end(time_picture("end"))
    x = vibid(*pictures, time_start(), SIGMAS, noise=time_noise(), keyframes=middle)
    check("time.keyframes", x)


def test_golden_time_mpd():
    pictures = end(time_picture("start")), end(time_picture("end"))
    seen = []
    x = mpd(
        *pictures, time_start(), SIGMAS, noise=time_noise(), callback=lambda step, x, denoised: seen.append(x)
    )
    check("time.mpd", x)
    check("time.mpd.step_0", seen[1])
    check("time.mpd_trf", mpd_trf(*pictures, time_start(), SIGMAS, noise=time_noise()))


def test_golden_time_mpd_first_round():
    """A run of no steps but the prelude: the first thing that sees its result is the start's second pass."""
    seen = []

    def evaluate(branches, x, sigma):
        seen.append(x)
        return time_picture("start").evaluate(branches, x, sigma)

    start = End(evaluate, time_picture("start").latent, torch.ones(5))
    mpd(start, end(time_picture("end")), time_start(), SIGMAS, noise=time_noise())
    check("time.mpd.round_0", seen[1])


def test_golden_time_loop():
    start = end(time_picture("start"), frames=6)
    x = mpd(start, start, time_start("time.loop.x", 6), SIGMAS, noise=time_noise())
    check("time.loop", x[:-1])


@pytest.mark.parametrize("name, skip, frames", [("shift", 2, 5), ("shift.ring", 3, 10)])
def test_golden_time_shift(name: str, skip: int, frames: int):
    start = time_start("time.x" if frames == 5 else "time.ring.x", frames)
    denoise = shifted(time_picture("start").guided(ramp(1, 3, 5)), SIGMAS, skip, FRAMES)
    check(f"time.{name}", euler(denoise, start, SIGMAS, noise=None))


def anchored(picture, frames: int, length: int, overlap: int, scales: Tensor):
    """Windows that begin with the picture's frame, fused before guidance."""
    of_frames = windows.anchored(frames, length, overlap)

    def evaluate(branches, x: Tensor, sigma: Tensor) -> Tensor:
        def both(x: Tensor, sigma: Tensor) -> Tensor:
            return torch.stack(picture.evaluate(branches, x, sigma))

        return windowed(both, of_frames, windows.tent(length))(x, sigma)

    return guided(evaluate, [cfg(scales)])


def test_golden_time_anchored_windows():
    noise = windows.repeated(draw("time.x", 5, 4, 8, 12), 12)
    start = noise * (SIGMAS[0] ** 2 + 1).sqrt()
    denoise = anchored(time_picture("start"), 12, 5, 2, ramp(1.5, 3, 12))
    check("time.windows.anchored", euler(denoise, start, SIGMAS, noise=None))


def test_golden_time_plain_windows():
    of_frames = windows.sliding(12, 5, 2)
    assert [frames[0] for frames in of_frames] == [0, 3, 6, 7]
    denoise = time_picture("start").guided(torch.full((5,), 2.0))
    fused_windows = windowed(denoise, of_frames, windows.triangle(5))
    start = time_start("time.long.x", 12)
    check("time.windows.plain", euler(fused_windows, start, SIGMAS, noise=None))


def test_golden_time_freenoise():
    shuffles = [draw(f"time.freenoise.{start}", 2).argsort() for start in range(5, 12, 2)]
    check("time.freenoise", windows.shuffled(draw("time.long.x", 12, 4, 8, 12), 5, shuffles))


def test_golden_time_match():
    latents, latent = draw("time.long.x", 12, 4, 8, 12), time_picture("start").latent
    check("time.match", matched(latents, latent, 0.6))


# The authors' own code

NOISE = draw("noise", 6, 4, 8, 8)
LEVELS = {
    "": karras(10).double(),
    ".low": karras(10, sigma_max=3.0).double(),
}


def control_noise():
    return counted_noise("eps.{}", 6, 4, 8, 8)


def control_start(sigmas: Tensor, noise: Tensor = NOISE) -> Tensor:
    return noise * (sigmas[0] ** 2 + 1).sqrt()


@pytest.mark.parametrize("low", LEVELS)
def test_golden_control_vibid_and_mpd(low: str):
    pictures = end(control_picture("start"), frames=6), end(control_picture("end"), frames=6)
    sigmas = LEVELS[low]
    for name, solve in (("vibid", vibid), ("mpd.vibid", mpd), ("mpd.trf", mpd_trf)):
        x = solve(*pictures, control_start(sigmas), sigmas, noise=control_noise())
        check(f"control.{name}{low}", x)


def test_golden_control_vibid_guided():
    pictures = end(control_picture("start"), 2, frames=6), end(control_picture("end"), 1.5, frames=6)
    x = vibid(*pictures, control_start(LEVELS[""]), LEVELS[""], noise=control_noise())
    check("control.vibid.guided_2_1.5", x)


@pytest.mark.parametrize(
    "name, sigmas, length, samples, share, strength",
    [
        ("trf.fixed", LEVELS[""], 2, 2, 0.6, 1.0),
        ("trf.low.fixed", LEVELS[".low"], 2, 2, 0.6, 1.0),
        ("trf.many.fixed", karras(20).double(), 3, 3, 0.5, 0.95),
    ],
)
def test_golden_control_trf(name, sigmas, length, samples, share, strength):
    after = time_reversal_steps(len(sigmas) - 1, length=length, share=share)
    options = {"after": after, "length": length, "times": samples - 1, "strength": strength}
    denoise = both(control_picture, frames=6)
    x = returning_euler(denoise, control_start(sigmas), sigmas, noise=control_noise(), **options)
    check(f"control.{name}", x)


@pytest.mark.parametrize("frames, steps, scales", [(20, 6, (1, 3)), (18, 4, (2, 2))])
def test_golden_control_windows(frames: int, steps: int, scales: tuple[float, float]):
    sigmas = karras(steps).double()
    noise = windows.repeated(draw("windows.noise", 8, 4, 8, 8), frames)
    denoise = anchored(control_picture("start"), frames, 8, 3, ramp(*scales, frames))
    x = euler(denoise, control_start(sigmas, noise), sigmas, noise=None)
    check(f"control.windows.{frames}_8_3", x)
