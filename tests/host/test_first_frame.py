"""The picture as the first frame, and how much moves, in SVD Decode and SVD Animate of a real ComfyUI."""

import numpy as np
import pytest
import torch
from PIL import Image

from stillmotion.clips.first_frame import led_from
from support import graphs, host
from support.graphs import node
from support.host_pictures import close, frames_of

SIZE = {"width": 64, "height": 64, "frames": 3, "steps": 2}


def animated(server, base, **inputs) -> np.ndarray:
    animate = node("StillmotionAnimate", checkpoint="tiny_svd.safetensors", image=["image", 0])
    animate["inputs"] |= {"motion": 127, "seed": 4, **SIZE, **inputs}
    graph = {"image": node("LoadImage", image="rocket.jpg"), "animate": animate}
    graph["save"] = node("SaveImage", images=["animate", 0], filename_prefix="clip")
    return frames_of(base, server.run(graph))


def test_animate_begins_with_the_picture_and_leads_over_from_it(server, base):
    """Pictures are saved in whole levels, cut off: a plain clip is so off by one in each of its terms."""
    plain, exact = animated(server, base), animated(server, base, keep_first="exact")
    decoded = torch.from_numpy(plain).movedim(-1, 1) / 127.5 - 1
    picture = torch.from_numpy(exact[:1]).movedim(-1, 1) / 127.5 - 1
    led = torch.stack(list(led_from(picture, len(plain)).over(decoded))).clamp(-1, 1)
    expected = ((led + 1) * 127.5).round().movedim(1, -1).numpy()
    assert np.abs(expected - exact).max() <= 4 < np.abs(expected - plain).max()
    original = np.asarray(Image.open(base / "input" / "rocket.jpg"))
    assert np.abs(exact[0].mean((0, 1)) - original[:, 106:533].mean((0, 1))).max() < 2


def test_a_word_is_its_motion_bucket_and_the_last_one_starts_from_another_level(server, base):
    assert np.array_equal(animated(server, base, motion_amount="much"), animated(server, base, motion=190))
    assert not close(animated(server, base, motion_amount="most"), animated(server, base, motion=255))


def refused(server, **inputs) -> str:
    """What SVD Animate says of inputs that it does not take."""
    animate = node("StillmotionAnimate", checkpoint="tiny_svd.safetensors", image=["image", 0])
    animate["inputs"] |= {"motion": 127, "seed": 4, **SIZE, **inputs}
    graph = {"image": node("LoadImage", image="rocket.jpg"), "animate": animate}
    graph["save"] = node("SaveImage", images=["animate", 0], filename_prefix="clip")
    return host.error_of(server.run(graph))


def test_animate_refuses_two_ways_to_say_how_much_moves(server):
    message = refused(server, motion=40, motion_amount="much")
    assert "motion is 40 and motion in words is 'much'" in message
    assert "set motion back to 127, or motion in words to 'by motion'" in message


@pytest.mark.parametrize(
    ("chosen", "remedy"),
    [
        ({"preset": "draft"}, 'set preset to "the checkpoint\'s own"'),
        ({"keep_first": "exact"}, "set keep first frame to 'off'"),
        ({"motion_amount": "much"}, "set motion in words to 'by motion'"),
    ],
)
def test_animate_says_how_to_undo_a_choice_that_an_orbit_does_not_take(server, chosen, remedy):
    message = refused(server, checkpoint="tiny_sv3d_u.safetensors", **chosen)
    assert remedy in message and "(sv3d_u)" in message


def test_decode_puts_the_picture_first_in_each_video(server, base):
    two = node("LatentBatch", samples1=["sample", 0], samples2=["sample", 0])
    decode = {"latent": ["two", 0], "frames": 4}
    plain = frames_of(base, server.run(graphs.first_video(seed=19, two=two, decode=decode)))
    decode |= {"first_frame": ["prepare", 3]}
    exact = frames_of(base, server.run(graphs.first_video(seed=19, two=two, decode=decode)))
    picture = frames_of(base, server.run(graphs.first_video(seed=19, save={"images": ["prepare", 3]})))
    assert np.array_equal(exact[0], picture[0]) and np.array_equal(exact[4], picture[0])
    assert np.array_equal(exact[:4], exact[4:]) and not close(exact[1:4], plain[1:4])
    alone = {"first_frame": ["prepare", 3]}
    assert close(frames_of(base, server.run(graphs.first_video(seed=19, decode=alone))), exact[:4])
