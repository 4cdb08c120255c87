"""What a model has no use for is refused in words when sampling begins, instead of ignored."""

import pytest

from support import graphs, host, in_host
from support.graphs import node
from support.host_pictures import frames_of


def orbit(checkpoint: str, **prepare) -> dict:
    """The first video with a camera."""
    given = {"positive": ["prepare", 0], "negative": ["prepare", 1], "elevation": 20.0, "azimuths": ""}
    return graphs.first_video(
        load={"checkpoint": checkpoint},
        prepare={"width": 64, "height": 64} | prepare,
        orbit=node("StillmotionOrbit", **given),
        sample={"positive": ["orbit", 0], "negative": ["orbit", 1]},
    )


def said(server, graph: dict) -> str:
    entry = server.run(graph)
    assert not host.succeeded(entry)
    return host.error_of(entry)


@pytest.mark.parametrize("sampler", ["ours", "core's"])
@pytest.mark.parametrize(
    ("kind", "name"), [("svd", "svd_xt"), ("svd_image_decoder", "svd_xt_image_decoder"), ("sv3d_u", "sv3d_u")]
)
def test_a_camera_for_a_model_without_one(server, kind, name, sampler):
    graph = orbit(f"tiny_{kind}.safetensors")
    message = said(server, graph if sampler == "ours" else graphs.in_cores_ksampler(graph))
    assert f"the conditioning has a camera, which goes with sv3d_p; this model ({name}) takes none" in message
    assert "take SVD Orbit out" in message


@pytest.mark.parametrize("sampler", ["ours", "core's"])
@pytest.mark.parametrize(("kind", "name"), [("svd", "svd_xt"), ("sv3d_p", "sv3d_p")])
def test_a_camera_of_motionctrls_for_a_model_without_its_layers(server, kind, name, sampler):
    graph = graphs.with_camera(checkpoint=f"tiny_{kind}.safetensors")
    message = said(server, graph if sampler == "ours" else graphs.in_cores_ksampler(graph))
    assert (
        f"a camera of MotionCtrl's, and this model ({name}) has no layers for it: take SVD Camera" in message
    )


@pytest.mark.parametrize("kind", ["sv3d_u", "sv3d_p"])
def test_motion_for_a_model_that_circles(server, kind):
    graph = graphs.first_video(
        load={"checkpoint": f"tiny_{kind}.safetensors"},
        prepare={"width": 64, "height": 64, "motion_bucket_id": 200},
    )
    message = said(server, graph)
    assert f"motion_bucket_id is 200; {kind} circles the object and takes none: leave it at 127" in message


def test_motion_of_animate_for_a_model_that_circles(server):
    """Before anything is loaded."""
    given = {"checkpoint": "tiny_sv3d_u.safetensors", "image": ["image", 0], "motion": 200, "seed": 0}
    graph = {
        "image": node("LoadImage", image="rocket.jpg"),
        "animate": node("StillmotionAnimate", **given),
        "save": node("SaveImage", images=["animate", 0], filename_prefix="animate"),
    }
    assert "motion is 200; sv3d_u circles the object and takes none: leave it at 127" in said(server, graph)


def test_the_defaults_and_the_frame_rate_pass_since_the_player_has_one_too(server, base):
    graph = graphs.first_video(
        load={"checkpoint": "tiny_sv3d_u.safetensors"}, prepare={"width": 64, "height": 64, "fps": 12.0}
    )
    assert frames_of(base, server.run(graph)).shape[0] == 4


def test_cores_sv3d_node_which_always_sets_a_camera_works_with_sv3d_u(server, base):
    given = {"clip_vision": ["load", 1], "vae": ["load", 2], "init_image": ["image", 0]}
    prepare = node("SV3D_Conditioning", **given, width=64, height=64, video_frames=4, elevation=0.0)
    graph = graphs.first_video(load={"checkpoint": "tiny_sv3d_u.safetensors"}) | {"prepare": prepare}
    assert frames_of(base, server.run(graph)).shape[0] == 4


@pytest.mark.parametrize(
    ("kind", "option", "refused"),
    [
        ("SVD_img2vid", "stillmotion_camera=True", "this model (SVD_img2vid) takes none"),
        ("SV3D_u", "stillmotion_camera=True", "this model (SV3D_u) takes none"),
        ("SV3D_p", "stillmotion_camera=True", ""),
        (
            "SVD_img2vid",
            "stillmotion_track=torch.zeros(4, 12)",
            "this model (SVD_img2vid) has no layers for it",
        ),
    ],
)
def test_a_camera_for_cores_model(kind, option, refused):
    """Of a class of core's, which can't detect a tiny checkpoint; in SVD KSampler."""
    camera = "elevation=[0.0], azimuth=[0.0], " if "camera" in option else ""
    script = f"""
import comfy.model_base
from types import SimpleNamespace
from pack.nodes import host

model = SimpleNamespace(model=object.__new__(comfy.model_base.{kind}))
given = [[None, dict(concat_latent_image=0, {camera}{option})]]
try:
    host.check_conditioning(model, "positive", given)
except ValueError as error:
    print(json.dumps(str(error)))
else:
    print(json.dumps(""))
"""
    message = in_host.result_of(script)
    assert refused in message and bool(message) == bool(refused)
