"""What the page is sent while a video is sampled, over the websocket: progress and pictures.

The server has --preview-method latent2rgb among its switches; a prompt can ask for another method.
"""

import base64
import io
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch.nn import functional

from stillmotion import builtin_model
from stillmotion.svd_model.networks.taesd import SmallDecoder, SmallDecoderParams
from support import graphs
from support.graphs import node
from support.host_pictures import frames_of
from support.landscape import STRONGEST, colours, landscape
from support.named_tensors import NamedTensors
from support.watching import watch

STEPS = 3


def pictures(messages: list[dict]) -> list[np.ndarray]:
    files = [base64.b64decode(message["data"]) for message in messages if message["type"] == "preview"]
    return [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int) for file in files]


def cells(picture: np.ndarray, rows: int, columns: int) -> list[np.ndarray]:
    """The middles of the frames in a contact sheet."""
    height, width = picture.shape[0] // rows, picture.shape[1] // columns
    corners = [(row * height, column * width) for row in range(rows) for column in range(columns)]
    inset = slice(height // 4, -height // 4), slice(width // 4, -width // 4)
    return [picture[top : top + height, left : left + width][inset] for top, left in corners]


def assert_shapes(shown: list[np.ndarray], shape: tuple[int, int, int]) -> None:
    """The first and the last step are shown; between them those that the time of a step allows."""
    assert 2 <= len(shown) <= STEPS
    assert {picture.shape for picture in shown} == {shape}


def test_our_ksampler_shows_the_frames_side_by_side(switched_server):
    """Five frames in three columns and two rows, the last place empty; the host makes it 512 wide."""
    graph = graphs.first_video(seed=81, prepare={"frames": 5}, sample={"steps": STEPS})
    shown = pictures(watch(switched_server, graph))
    assert_shapes(shown, (171, 512, 3))
    *frames, empty = cells(shown[0], rows=2, columns=3)
    assert np.ptp(empty, axis=(0, 1)).max() <= 4  # one colour, but for JPEG
    for index, frame in enumerate(frames):
        assert np.ptp(frame) > 20
        assert all(np.abs(frame - other).mean() > 5 for other in frames[:index])


def test_cores_ksampler_shows_all_frames_of_our_model(switched_server):
    """In each step's picture of its own, which without our model has the batch's first latent."""
    inputs = {"model": ["load", 0], "positive": ["prepare", 0], "negative": ["prepare", 1], "seed": 1}
    inputs |= {"latent_image": ["prepare", 2], "steps": STEPS, "cfg": 2.5, "sampler_name": "euler"}
    sample = node("KSampler", **inputs, scheduler="karras", denoise=1.0)
    graph = graphs.first_video(seed=82, prepare={"frames": 5}) | {"sample": sample}
    shown = pictures(watch(switched_server, graph))
    assert [picture.shape for picture in shown] == [(171, 512, 3)] * STEPS


def test_previews_of_the_shipped_model_have_the_colours_of_its_frames(switched_server, base):
    """Core's preview of frame 0 against what the VAE makes of it: its latents are not Stable Diffusion's."""
    Image.fromarray(landscape()).save(base / "input" / "landscape.png")
    inputs = {"model": ["load", 0], "positive": ["prepare", 0], "negative": ["prepare", 1], "seed": 1}
    inputs |= {"latent_image": ["prepare", 2], "steps": 8, "cfg": 1.0, "sampler_name": "euler"}
    graph = graphs.first_video(
        load={"checkpoint": builtin_model.NAME},
        image={"image": "landscape.png"},
        prepare={"width": 128, "height": 128},
    )
    graph |= {"sample": node("KSampler", **inputs, scheduler="karras", denoise=1.0)}
    sheet = pictures(watch(switched_server, graph))[-1]
    columns = math.ceil(math.sqrt(graph["prepare"]["inputs"]["frames"]))
    preview = sheet[:, : sheet.shape[1] // columns][: sheet.shape[1] // columns]
    frame = frames_of(base, switched_server.run(graph))[0]
    difference = np.abs(colours(preview) - colours(frame.astype(int)))
    assert difference.mean() < 20  # 98 with the colours of Stable Diffusion's latents
    assert difference.max() < 60  # 228
    shown = colours(preview)
    assert [shown[region].argmax() for region, _ in STRONGEST] == [strongest for _, strongest in STRONGEST]


def test_progress_comes_step_by_step_and_before_its_picture(switched_server):
    messages = watch(switched_server, graphs.first_video(seed=83, sample={"steps": STEPS}))
    kinds = [
        message["data"]["value"] if message["type"] == "progress" else "picture"
        for message in messages
        if message["type"] == "preview"
        or (message["type"] == "progress" and message["data"]["node"] == "sample")
    ]
    numbers = [kind for kind in kinds if kind != "picture"]  # the host leaves out what follows too soon
    assert numbers == sorted(set(numbers))
    assert kinds[:2] == [1, "picture"] and kinds[-2:] == [3, "picture"]
    assert "picture" not in [one for one, other in pairwise(kinds) if other == "picture"]
    assert all(
        message["data"]["max"] == STEPS
        for message in messages
        if message["type"] == "progress" and message["data"]["node"] == "sample"
    )


NARROW = 8
"""Channels of the tests' small decoders."""

SQUARE = {"width": 192, "height": 192}


def small_decoder(memory: bool) -> SmallDecoder:
    """A small decoder of random weights, whose pictures are around grey."""
    decoder = SmallDecoder(SmallDecoderParams(NARROW, memory=memory), device="meta")
    decoder = NamedTensors().fill(decoder, "preview.")
    decoder[-1].bias += 0.5
    return decoder


@pytest.fixture
def vae_approx(base):
    """The host's folder of small decoders, empty again after a test."""
    folder = base / "models" / "vae_approx"
    folder.mkdir(exist_ok=True)
    yield folder
    for file in folder.iterdir():
        file.unlink()


def sheet_of(frames: torch.Tensor, columns: int) -> np.ndarray:
    """Frames (T, 3, h, w) in [0, 1] put side by side, by hand."""
    height, width = frames.shape[2:]
    sheet = np.zeros((math.ceil(len(frames) / columns) * height, columns * width, 3), np.uint8)
    for index, frame in enumerate(frames):
        top, left = index // columns * height, index % columns * width
        pixels = (frame.clamp(0, 1) * 255).round().byte().movedim(0, -1)
        sheet[top : top + height, left : left + width] = pixels.numpy()
    return sheet


@pytest.mark.parametrize(
    ("method", "files", "memory"),
    [
        ("taesd", ["taesdv.pth", "taesd_decoder.pth"], True),  # the first is preferred
        ("auto", ["taesd_decoder.pth"], False),
    ],
)
def test_with_a_small_decoder_all_frames_are_shown_in_order(
    switched_server, base, vae_approx, method, files, memory
):
    """The last preview against the small decoder's pictures of the finished latent, of twelve frames."""
    for name in files:
        torch.save(dict(small_decoder("taesdv" in name).state_dict()), vae_approx / name)
    seed, frames = 90 + memory, 12
    graph = graphs.first_video(seed=seed, prepare=SQUARE | {"frames": frames}, sample={"steps": STEPS})
    graph["keep"] = node("SaveLatent", samples=["sample", 0], filename_prefix=f"small_{method}")
    shown = pictures(watch(switched_server, graph, method))
    assert 2 <= len(shown) <= STEPS
    (path,) = (base / "output").glob(f"small_{method}*")
    latents = load_file(path)["latent_tensor"] * 0.18215  # as the model has them
    assert latents.shape == (frames, 4, 24, 24)
    decoded = small_decoder(memory)(functional.avg_pool2d(latents, 3))
    expected = ImageOps.contain(Image.fromarray(sheet_of(decoded, columns=4)), (512, 512), Image.BILINEAR)
    assert shown[-1].shape == (*reversed(expected.size), 3)
    assert np.abs(shown[-1] - np.asarray(expected).astype(int)).mean() < 3  # JPEG
    cells_shown = cells(shown[-1], rows=3, columns=4)
    assert all(np.abs(cell - other).mean() > 6 for cell, other in pairwise(cells_shown))


def test_a_broken_small_decoder_is_one_line_of_the_log(switched_server, vae_approx):
    """And the previews are the colours of the latents, though the host's own loader would stop the run."""
    (vae_approx / "taesd_decoder.pth").write_bytes(b"PK damaged")
    for seed in (93, 94):
        graph = graphs.first_video(seed=seed, prepare={"frames": 5}, sample={"steps": STEPS})
        assert_shapes(pictures(watch(switched_server, graph, "taesd")), (171, 512, 3))
    lines = [line for line in switched_server.log.splitlines() if "small decoder" in line]
    assert len(lines) == 1
    assert "taesd_decoder.pth" in lines[0]
