"""Camera tracks: the reference's relative poses, and where the named ones put the camera."""

import math

import pytest
import torch
from torch import Tensor

from stillmotion.clips import camera
from stillmotion.clips.settings import Settings
from stillmotion.svd_model.checkpoint import variants
from support import golden_family

MOTIONCTRL, FRAMES = variants.MOTIONCTRL_SVD, 14


def test_golden_family_track():
    poses = golden_family.GOLDEN["motionctrl.pose"]
    flat, nested = poses.flatten(1).tolist(), poses.tolist()
    for listed in (flat, nested, [*flat[:2], *nested[2:]]):
        golden_family.check("motionctrl.RT", camera.listed_track(listed, len(listed), 1.5))


def parts(track: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations, (T, 3, 3), and positions of the camera in the world of the first frame, (T, 3)."""
    rows = track.double().view(-1, 3, 4)
    rotations = rows[..., :3]
    return rotations, -(rotations.mT @ rows[..., 3:])[..., 0]


@pytest.mark.parametrize("name", camera.TRACKS)
@pytest.mark.parametrize("speed", [-1.0, 0.5, 2.0])
def test_a_named_track_begins_neutral_and_turns_without_distortion(name, speed):
    track = camera.named_track(name, FRAMES, speed)
    assert track.shape == (FRAMES, 12) and track.dtype == torch.float32
    assert torch.equal(track[0].view(3, 4), torch.eye(3, 4))
    rotations, _ = parts(track)
    identity = torch.eye(3, dtype=torch.float64).expand(FRAMES, 3, 3)
    torch.testing.assert_close(rotations @ rotations.mT, identity, atol=1e-6, rtol=0)
    assert (torch.linalg.det(rotations) > 0).all()


SIDES = {
    "pan_left": (-1, 0, 0),
    "pan_right": (1, 0, 0),
    "pan_up": (0, -1, 0),
    "pan_down": (0, 1, 0),
    "zoom_in": (0, 0, 1),
    "zoom_out": (0, 0, -1),
}


@pytest.mark.parametrize("name", SIDES)
def test_a_camera_moves_to_its_side(name):
    """Evenly, and as fast as the speed says."""
    rotations, positions = parts(camera.named_track(name, FRAMES, 1.0))
    side = torch.tensor(SIDES[name], dtype=torch.float64)
    steps = positions.diff(dim=0)
    torch.testing.assert_close(steps, (steps[0] @ side) * side.expand(FRAMES - 1, 3), atol=1e-6, rtol=0)
    assert steps[0] @ side > 0.05
    assert (rotations == torch.eye(3)).all()
    faster = parts(camera.named_track(name, FRAMES, 2.0))[1]
    torch.testing.assert_close(faster, 2 * positions, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "side"), [("orbit_left", -1), ("orbit_right", 1)])
def test_an_orbit_keeps_looking_at_the_subject_from_one_distance(name, side):
    rotations, positions = parts(camera.named_track(name, FRAMES, 1.0))
    subject = torch.tensor([0, 0, camera.DISTANCE], dtype=torch.float64)
    seen = (rotations @ (subject - positions)[..., None])[..., 0]
    torch.testing.assert_close(seen, subject.expand(FRAMES, 3), atol=1e-5, rtol=0)
    assert (side * positions[1:, 0] > 0).all() and (positions[:, 1] == 0).all()


@pytest.mark.parametrize(("name", "side"), [("roll_left", -1), ("roll_right", 1)])
def test_a_roll_turns_around_the_line_of_sight(name, side):
    """Rolled to its right, a camera sees the world turn to the left: what is on the right comes up."""
    rotations, positions = parts(camera.named_track(name, FRAMES, 1.0))
    assert (positions == 0).all()
    right = rotations[-1] @ torch.tensor([1.0, 0, 0], dtype=torch.float64)
    angle = (FRAMES - 1) * camera.ROLL
    expected = torch.tensor([math.cos(angle), -side * math.sin(angle), 0], dtype=torch.float64)
    torch.testing.assert_close(right, expected, atol=1e-6, rtol=0)


def test_static_is_neutral_at_each_frame():
    assert torch.equal(camera.named_track("static", 3), torch.eye(3, 4).flatten().expand(3, 12))


def test_of_more_poses_than_frames_the_middle_ones_count():
    poses = camera.named_track("zoom_in", 16).tolist()
    assert torch.equal(camera.listed_track(poses, 14), camera.listed_track(poses[1:15], 14))
    with pytest.raises(ValueError, match="camera lists 16 poses; the clip has 17 frames and needs"):
        camera.listed_track(poses, 17)


NEUTRAL = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"camera": "pan"}, "camera is 'pan'; accepted are static, pan_left, .*, or a list of poses"),
        ({"camera": "pan_lef"}, "did you mean pan_left"),
        ({"camera": ()}, "camera is an empty list"),
        ({"camera": 3}, "camera is 3; accepted are"),
        ({"camera": (NEUTRAL, NEUTRAL[1:])}, r"camera has as pose 2 \(0.0, .*a pose is 12 numbers"),
        ({"camera": ((NEUTRAL[:3],) * 4,)}, "camera has as pose 1 .*3 rows of 4"),
        ({"camera": ((math.nan, *NEUTRAL[1:]),)}, "camera has as pose 1 .*from -1e.06 to 1e.06"),
        ({"camera": ((True, *NEUTRAL[1:]),)}, "camera has as pose 1"),
        ({"camera": NEUTRAL}, "camera has as pose 1 1.0; a pose is"),
        ({"camera": ((((1.0,),),) * 12,)}, "camera has as pose 1"),
        ({"camera": "zoom_in", "camera_speed": 11}, "camera_speed is 11; it must be a number from -10 to 10"),
        ({"camera_speed": 2.0}, "camera_speed goes with camera"),
        ({"camera": (NEUTRAL,) * 13}, "camera lists 13 poses; the clip has 14 frames"),
    ],
)
def test_what_is_no_track_is_refused(chosen, message):
    with pytest.raises(ValueError, match=message):
        Settings(**chosen).complete(MOTIONCTRL)


def test_settings_make_the_track():
    named = Settings(camera="pan_left", camera_speed=2).complete(MOTIONCTRL)
    assert torch.equal(named.track(), camera.named_track("pan_left", FRAMES, 2))
    poses = camera.named_track("orbit_left", FRAMES).view(FRAMES, 3, 4)
    listed = Settings(camera=poses).complete(MOTIONCTRL)
    assert torch.equal(listed.track(), camera.listed_track(poses.tolist(), FRAMES))
    assert len(listed.as_metadata()["camera"]) == FRAMES
    assert Settings().complete(MOTIONCTRL).track() is None
    assert named.complete(MOTIONCTRL) == named


def test_motionctrl_has_the_values_of_its_authors_script():
    settings = Settings().complete(MOTIONCTRL)
    assert (settings.num_frames, settings.width, settings.height, settings.steps) == (14, 1024, 576, 25)
    assert (settings.guidance, settings.min_guidance, settings.max_guidance) == ("linear", 1.0, 2.5)
    assert (settings.fps, settings.motion_bucket_id, settings.noise_aug) == (7, 127, 0.02)


@pytest.mark.parametrize("variant", [variants.SVD_XT, variants.SV3D_P])
def test_a_track_for_another_checkpoint_is_refused(variant):
    with pytest.raises(ValueError, match=r"camera goes with MotionCtrl-SVD; this checkpoint .* takes none"):
        Settings(camera="zoom_in").complete(variant)
