"""What the picture becomes before the model sees it: the nodes' functions, run by the host's interpreter."""

import pytest

from support import in_host

SCRIPT = """
from pack.nodes.conditioning import fit_images, noisy
from pack.nodes.sampling import contact_sheet

grey = torch.full((2, 3, 64, 64), 0.5)
added = (noisy(grey, 0.3, 1) - grey) * 2  # in the range of [-1, 1]
glass = torch.tensor([1.0, 0.0, 0.0, 0.25]).expand(1, 32, 48, 4)
padded = fit_images(torch.ones(1, 32, 64, 3), 64, 64, "pad")
frames = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 4, 2, 3)
print(json.dumps({
    "strength": added.std().item(),
    "same seed": torch.equal(noisy(grey, 0.3, 1), noisy(grey, 0.3, 1)),
    "other seed": torch.equal(noisy(grey, 0.3, 1), noisy(grey, 0.3, 2)),
    "no noise": torch.equal(noisy(grey, 0.0, 1), grey),
    "over white": fit_images(glass, 64, 64, "crop")[0, :, 32, 32].tolist(),
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


def test_transparency_becomes_white(measured):
    assert measured["over white"] == pytest.approx([1.0, 0.75, 0.75], abs=0.01)


def test_padding_keeps_the_whole_picture_in_the_middle(measured):
    assert measured["pad"] == [0.0, 1.0]


def test_previews_show_frames_side_by_side(measured):
    assert measured["sheet"] == [[0, 1, 2], [3, 4, 0]]
