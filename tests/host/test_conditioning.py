"""What the picture becomes before the model sees it: the nodes' functions, run by the host's interpreter."""

import pytest

from support import in_host

SCRIPT = """
from pack.clips.canvas import FITS
from pack.nodes.conditioning import encode_pictures, fit_pictures
from pack.nodes.host.previews import contact_sheet
import comfy.sample
from pack.nodes.host import make_sampler

class NoEncoder:
    # A VAE whose latents are the pictures themselves, in the range of [-1, 1].
    def encode(self, images):
        return images.movedim(-1, 1) * 2 - 1

def noisy(pictures, noise_aug, seed):
    return encode_pictures(NoEncoder(), pictures, noise_aug, seed)

grey = torch.zeros(2, 3, 64, 64)
added = noisy(grey, 0.3, 1)
glass = torch.tensor([1.0, 0.0, 0.0, 0.25]).expand(1, 32, 48, 4)
padded = fit_pictures(torch.ones(1, 32, 64, 3), 64, 64, "pad")
frames = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 4, 2, 3)

def likeness(one, other):
    return torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].abs().item()

def streams(seed):
    # Noise of the picture, of the start and of a solver, as many numbers of each.
    picture = noisy(torch.zeros(1, 3, 64, 64), 1.0, seed)
    start = comfy.sample.prepare_noise(torch.zeros(3, 4, 32, 32), seed)
    solver = []
    sampler = make_sampler(lambda denoise, x, sigmas, *, noise, callback: solver.append(noise(x)))
    sampler.sampler_function(None, torch.zeros(3, 4, 32, 32), torch.zeros(1), extra_args={"seed": seed})
    return picture, start, solver[0]

def shapes():
    # Pictures of one colour, from a line to a square, that do not come out in that colour and size.
    sides = (1, 2, 3, 300, 4097)
    for width, height in ((w, h) for w in sides for h in sides if min(w, h) <= 3):
        for size in ((64, 64), (512, 64), (64, 512)):
            for fit in FITS:
                try:
                    fitted = fit_pictures(torch.full((1, height, width, 3), 0.6), *size, fit) / 2 + 0.5
                except Exception as error:
                    yield [width, height, *size, fit, str(error)]
                    continue
                seen = fitted[fitted > 0]
                right = tuple(fitted.shape) == (1, 3, size[1], size[0]) and len(seen) > 0
                right = right and bool(((seen - 0.6).abs() < 0.01).all())
                if not right or fit != "pad" and len(seen) < fitted.numel():
                    yield [width, height, *size, fit, list(fitted.shape), seen.numel()]

picture, start, solver = streams(7)
print(json.dumps({
    "likeness": [likeness(picture, start), likeness(picture, solver), likeness(start, solver)],
    "shapes": list(shapes()),
    "strength": added.std().item(),
    "same seed": torch.equal(noisy(grey, 0.3, 1), noisy(grey, 0.3, 1)),
    "other seed": torch.equal(noisy(grey, 0.3, 1), noisy(grey, 0.3, 2)),
    "no noise": torch.equal(noisy(grey, 0.0, 1), grey),
    "second alone": torch.equal(added[1:], noisy(grey[1:], 0.3, 2)),
    "over white": (fit_pictures(glass, 64, 64, "crop") / 2 + 0.5)[0, :, 32, 32].tolist(),
    "pad": [padded[0, 0, 2, 32].item(), padded[0, 0, 32, 32].item()],
    "sheet": contact_sheet(frames)[0, 0, ::2, ::3].tolist(),
}))
"""


@pytest.fixture(scope="module")
def measured():
    return in_host.result_of(SCRIPT)


def test_noise_has_the_stated_strength_and_is_seeded(measured):
    assert measured["strength"] == pytest.approx(0.3, rel=0.03)
    assert measured["same seed"] and not measured["other seed"] and measured["no noise"]
    assert measured["second alone"]


def test_transparency_becomes_white(measured):
    assert measured["over white"] == pytest.approx([1.0, 0.75, 0.75], abs=0.01)


def test_padding_keeps_the_whole_picture_in_the_middle(measured):
    assert measured["pad"] == [-1.0, 1.0]


def test_previews_show_frames_side_by_side(measured):
    assert measured["sheet"] == [[0, 1, 2], [3, 4, 0]]


def test_the_noises_of_one_seed_are_unlike(measured):
    """A correlation of 12288 numbers drawn apart is about 1/√12288."""
    assert max(measured["likeness"]) < 6 / 12288**0.5


def test_pictures_of_all_shapes_fit(measured):
    assert measured["shapes"] == []
