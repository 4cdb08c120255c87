"""The camera of MotionCtrl in a running ComfyUI: what it changes, in whose samplers, and what is refused."""

import json

import pytest
import torch

from stillmotion.clips.camera import named_track
from support import graphs, host, in_host
from support.graphs import node
from support.host_pictures import close, frames_of

FRAMES = 4


@pytest.fixture(scope="module")
def moved(server, base):
    return frames_of(base, server.run(graphs.with_camera()))


def test_each_camera_is_another_video_and_the_same_one_comes_again(server, base, moved):
    without = graphs.with_camera()
    without["sample"]["inputs"] |= {"positive": ["prepare", 0], "negative": ["prepare", 1]}
    for graph in (graphs.with_camera("pan_right"), graphs.with_camera(speed=3.0), without):
        assert not close(frames_of(base, server.run(graph)), moved)
    assert close(frames_of(base, server.run(graphs.with_camera())), moved)


def test_a_list_of_poses_is_the_track_that_they_make(server, base, moved):
    """The scale of the authors' script is taken out, and the speed of the node is in the poses."""
    poses = named_track("pan_left", FRAMES, 2.0).view(FRAMES, 3, 4) / torch.tensor([1, 1, 1, 3])
    listed = graphs.with_camera("list", speed=1.0, poses=json.dumps(poses.tolist()))
    assert close(frames_of(base, server.run(listed)), moved)


def test_cores_ksampler_takes_the_camera(server, base):
    graph = graphs.with_camera()
    graph["sample"]["inputs"] |= {"shape": "constant", "max_guidance": 2.5}
    ours, theirs = (frames_of(base, server.run(each)) for each in (graph, graphs.in_cores_ksampler(graph)))
    assert close(ours, theirs)


def test_cores_conditioning_takes_the_camera_for_14_frames(server, base):
    """It does not say how many frames there are."""
    given = {"clip_vision": ["load", 1], "init_image": ["image", 0], "vae": ["load", 2], "width": 128}
    given |= {"height": 64, "fps": 6, "motion_bucket_id": 127, "augmentation_level": 0.02}
    for frames in (14, 4):
        graph = graphs.with_camera()
        graph["prepare"] = node("SVD_img2vid_Conditioning", **given, video_frames=frames)
        entry = server.run(graphs.in_cores_ksampler(graph))
        if frames == 14:
            assert len(frames_of(base, entry)) == frames
        else:
            assert "the camera has 14 poses, the video 4 frames: connect SVD Camera" in host.error_of(entry)


@pytest.mark.parametrize(
    ("poses", "message"),
    [
        ("", "poses is ''; for list it must be JSON"),
        ("[[1, 2]]", "camera has as pose 1 (1, 2); a pose is 12 numbers"),
        ("[" * 5000, "for list it must be JSON"),
        ("{}", "poses is '{}'; for list it must be JSON"),
        (json.dumps(named_track("static", 3).tolist()), "camera lists 3 poses; the clip has 4 frames"),
    ],
)
def test_a_list_that_is_none_is_refused_in_words(server, poses, message):
    assert message in host.error_of(server.run(graphs.with_camera("list", poses=poses)))


def test_overridden_attention_keeps_the_camera():
    """A block over time in core's order of work is the plain block, with a camera and without."""
    difference, effect = in_host.result_of("""
from pack.nodes.host.blocks import OVERRIDE, OverriddenTemporalBlock
from pack.nodes.host.shared import attention
from pack.svd_model.networks.operations import CastingOperations
from pack.svd_model.networks.transformer import TemporalBlock

torch.manual_seed(0)
block = TemporalBlock(32, 24, 2, attention, CastingOperations, 12)
for parameter in block.parameters():
    torch.nn.init.normal_(parameter, std=0.2)
x, tokens, camera = torch.randn(2, 3, 5, 32), torch.randn(2, 1, 24), torch.randn(2, 3, 12)

def plain_attention(func, *inputs, **options):
    return func(*inputs, **options)

options = {OVERRIDE: plain_attention, "activations_shape": [2, 32, 1, 5], "block_index": 0}
options["block"] = ("input", 1)
with torch.no_grad():
    contexts = [block.prepare(tokens, each) for each in (camera, None)]
    plain = [block(x.clone(), context) for context in contexts]
    repeated = tokens.repeat_interleave(5, 0)
    found = [OverriddenTemporalBlock(options, repeated, context)(block, x.clone()) for context in contexts]
difference = max((a - b).abs().max().item() for a, b in zip(plain, found))
print(json.dumps([difference, (plain[0] - plain[1]).abs().max().item()]))
""")
    assert difference < 1e-4 < 1e-1 < effect
