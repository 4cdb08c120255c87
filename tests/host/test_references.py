"""Pictures that lead the look of a video: SVD Reference behind core's CLIP Vision Encode, in ComfyUI."""

import numpy as np
import pytest
from PIL import Image

from support import graphs, host
from support.graphs import node
from support.host_pictures import close, frames_of


@pytest.fixture(scope="module")
def pictures(base):
    """Names of two further pictures and of a mask of the left half, in the input folder."""
    for seed, name in enumerate(("red.png", "sea.png")):
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 128, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(base / "input" / name)
    mask = np.zeros((64, 128, 3), dtype=np.uint8)
    mask[:, :64] = 255
    Image.fromarray(mask).save(base / "input" / "left.png")
    Image.fromarray(np.full_like(mask, 255)).save(base / "input" / "all.png")


def graph(*references: tuple[str, float], mask: str | None = None, **changes) -> dict:
    """A graph whose positive goes through SVD References, each of a picture and its weight."""
    more, positive = {}, ["prepare", 0]
    if mask:
        more["mask"] = node("LoadImageMask", image=mask, channel="red")
    for number, (name, weight) in enumerate(references):
        more[f"picture{number}"] = node("LoadImage", image=name)
        more[f"embed{number}"] = node(
            "CLIPVisionEncode", clip_vision=["load", 1], image=[f"picture{number}", 0], crop="none"
        )
        inputs = {"positive": positive, "clip_vision_output": [f"embed{number}", 0], "weight": weight}
        more[f"reference{number}"] = node("StillmotionReference", **inputs)
        if mask:
            more[f"reference{number}"]["inputs"]["mask"] = ["mask", 0]
        positive = [f"reference{number}", 0]
    return graphs.first_video(seed=11, **more, sample={"positive": positive}, **changes)


def made(server, base, *references, **options):
    return frames_of(base, server.run(graph(*references, **options)))


def test_references_lead_the_look_in_any_order(server, base, pictures):
    plain = made(server, base)
    assert np.array_equal(made(server, base, ("red.png", 0.0)), plain)
    both = made(server, base, ("red.png", 1.5), ("sea.png", -0.75))
    assert close(both, made(server, base, ("sea.png", -0.75), ("red.png", 1.5)))
    assert not close(both, plain) and not close(both, made(server, base, ("red.png", 1.5)))


def test_a_mask_says_where_they_count(server, base, pictures):
    plain, everywhere = made(server, base), made(server, base, ("red.png", 2.0))
    assert close(made(server, base, ("red.png", 2.0), mask="all.png"), everywhere)
    left = made(server, base, ("red.png", 2.0), mask="left.png")
    change = np.abs(left.astype(int) - plain).mean((0, 1, 3))
    assert change[:64].mean() > change[64:].mean() and not close(left, everywhere)
    twice = made(server, base, ("red.png", 1.0), ("red.png", 1.0), mask="left.png")
    assert close(twice, left)


def test_several_pictures_in_one_embedding_are_refused_in_words(server, pictures):
    several = graph(("red.png", 1.0), more=node("ImageBatch", image1=["picture0", 0], image2=["picture0", 0]))
    several["embed0"]["inputs"]["image"] = ["more", 0]
    assert "clip_vision_output holds an embedding of 2×" in host.error_of(server.run(several))


def test_what_holds_no_embedding_is_refused_in_words(server, pictures):
    odd = graph(("red.png", 1.0), odd=node("TestsNoEmbedding"))
    odd["reference0"]["inputs"]["clip_vision_output"] = ["odd", 0]
    assert "clip_vision_output holds no embedding of a picture" in host.error_of(server.run(odd))


def test_a_mask_without_white_is_refused_in_words(server, base, pictures):
    Image.fromarray(np.zeros((64, 128, 3), dtype=np.uint8)).save(base / "input" / "none.png")
    entry = server.run(graph(("red.png", 1.0), mask="none.png"))
    assert "with something white in it" in host.error_of(entry)
