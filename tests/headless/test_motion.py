"""Motion and frozen parts, by the Python API and the command, on small networks."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from stillmotion.clips.motion import tracks
from stillmotion.clips.motion.coarse import coarse
from stillmotion.clips.motion.moves import MOVES
from stillmotion.clips.plan import Plan
from stillmotion.clips.settings import Settings
from stillmotion.headless import MotionVideo, Pipeline, motion, read_metadata, write_video
from stillmotion.headless.command_line import OK, REFUSED, main
from stillmotion.headless.engine import local
from stillmotion.headless.motion import directions
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.variants import SVD_XT
from stillmotion.svd_model.networks.vae import LATENT_SCALE
from support import checkpoints, tiny
from support.pages import ROOT

QUICK = Settings(num_frames=4, width=64, height=64, steps=10, hold_from=100.0, hold_until=0.0)
FREE = replace(QUICK, hold_from=None, hold_until=None)
WORDS = ("--frames", "4", "--width", "64", "--height", "64", "--steps", "10")
HELD = ("--hold-from", "100", "--hold-until", "0")
DRAG = {"drags": [{"path": [{"x": 0.4, "y": 0.5}, {"x": 0.6, "y": 0.5}], "width": 0.3}]}
SKY = {"regions": [{"kind": "freeze", "polygon": [[0, 0], [1, 0], [1, 0.5], [0, 0.5]]}]}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return checkpoints.write(tmp_path_factory.mktemp("motion") / "tiny.safetensors", sizes=tiny.SMALL)


@pytest.fixture(scope="module")
def pipeline(file):
    return Pipeline(Checkpoint.open(file), device="cpu")


def picture(seed: int = 0, size: tuple[int, int] = (64, 64)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def half(size: tuple[int, int] = (64, 64)) -> Image.Image:
    """A mask whose left half is white."""
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[:, : size[0] // 2] = 255
    return Image.fromarray(pixels)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture().save("photo.png")
    half().save("half.png")
    for name, content in (("drag", DRAG), ("sky", SKY)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    write_video("coarse", [np.asarray(picture(number)) for number in range(4)], 6, {})
    return tmp_path


def animate(file, *words) -> int:
    return main(["animate", "photo.png", *map(str, words), "--checkpoint", str(file), *WORDS])


def encoded(pipeline, frames: torch.Tensor) -> torch.Tensor:
    return pipeline.encode_pictures(frames).cpu() * LATENT_SCALE


def test_where_a_motion_moves_latents_are_the_coarse_videos(pipeline):
    clip = pipeline.animate(picture(), QUICK, motion=DRAG)
    plan = pipeline.plan(QUICK, moves=True)
    _, course = directions(DRAG).course(plan, picture())
    expected = encoded(pipeline, course.frames)
    inside = course.mask.expand_as(expected) == 1
    assert inside.any() and not inside.all()
    assert (clip.latents - expected)[inside].abs().max() < 1e-5
    assert (clip.latents - expected)[~inside].abs().mean() > 0.01
    assert clip.settings.motion_bucket_id == 17 and clip.settings.hold_from == 100


def test_only_the_levels_from_the_start_on_are_run(pipeline, monkeypatch):
    calls, evaluate = [], local.Evaluator.__call__

    def counted(self, branches, x, sigma):
        calls.append(float(sigma))
        return evaluate(self, branches, x, sigma)

    monkeypatch.setattr(local.Evaluator, "__call__", counted)
    pipeline.animate(picture(), QUICK, motion="pan left")
    sigmas = QUICK.complete(SVD_XT, moves=True).all_sigmas()
    assert calls == sigmas[(sigmas <= 100) & (sigmas > 0)].tolist() and len(calls) < 10


def test_a_start_without_a_hold_is_plain_sampling_from_the_coarse_video(pipeline):
    chosen = replace(QUICK, hold_until=100.0)
    clips = [pipeline.animate(picture(), chosen, motion=name).latents for name in ("pan left", "zoom in")]
    assert (clips[0] - clips[1]).abs().mean() > 1e-4


def test_a_frozen_part_is_the_picture_to_the_byte_and_its_latents_are_the_pictures(pipeline):
    for options in ({"motion": SKY}, {"freeze": half().rotate(-90)}):
        clip = pipeline.animate(picture(), FREE, **options)
        pixels = np.asarray(picture())
        assert (clip.frames[:, :32] == pixels[:32]).all()
        assert (clip.frames[:, 40:] != pixels[40:]).mean() > 0.5
        plan = pipeline.plan(FREE, freezes=True)
        still = encoded(pipeline, plan.canvas(torch.from_numpy(pixels.copy()).movedim(2, 0) / 255))
        assert (clip.latents[:, :, :4] - still[:, :, :4]).abs().max() < 1e-5
        assert clip.settings.motion_bucket_id == 127


def test_freeze_goes_before_a_motion(pipeline):
    clip = pipeline.animate(picture(), QUICK, motion="pan left", freeze=half())
    assert (clip.frames[:, :, :32] == np.asarray(picture())[:, :32]).all()
    assert (clip.frames[3, :, 40:] != clip.frames[0, :, 40:]).mean() > 0.5


def test_a_video_of_ones_own_is_followed_under_its_mask_and_begins_the_clip(pipeline):
    frames = [picture(number) for number in range(4)]
    clip = pipeline.animate(picture(9), QUICK, motion=MotionVideo(frames, [half()]))
    z = encoded(
        pipeline,
        torch.stack([torch.from_numpy(np.asarray(f) / np.float32(255)) for f in frames]).movedim(3, 1) * 2
        - 1,
    )
    assert (clip.latents - z)[..., :4].abs().max() < 1e-5
    again = pipeline.animate(picture(8), QUICK, motion=MotionVideo(frames, [half()]))
    assert np.array_equal(clip.frames, again.frames)


def test_a_mask_that_is_transparent_is_not_white(pipeline):
    mask = half().convert("RGBA")
    mask.putalpha(half())
    white = Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    white.paste(mask, (0, 0), half())
    clip = pipeline.animate(picture(), FREE, freeze=white)
    same = pipeline.animate(picture(), FREE, freeze=half())
    assert np.array_equal(clip.frames, same.frames)


@pytest.mark.parametrize("name", [name for name, move in MOVES.items() if not move.pivot])
def test_a_move_of_the_camera_goes_where_its_name_says(name):
    """A dot in the middle of a picture goes against the camera, or turns and grows around the middle."""
    plan = Plan.of(Settings(num_frames=5, width=64, height=64), SVD_XT, moves=True)
    spot = Image.new("RGB", (64, 64))
    spot.paste((255, 255, 255), (44, 30, 50, 36))
    _, course = directions(name.replace(" ", "_")).course(plan, spot)
    y, x = (course.frames[-1, 0] > 0).nonzero().float().mean(0).tolist()
    dx, dy = x - 46.5, y - 32.5
    expected = {
        "pan left": (1, 0),
        "pan right": (-1, 0),
        "pan up": (0, 1),
        "pan down": (0, -1),
        "zoom in": (1, 0),
        "zoom out": (-1, 0),
        "roll left": (0, 1),
        "roll right": (0, -1),
    }[name]
    along = dx * expected[0] + dy * expected[1]
    assert along > 1.5 and abs(dx * expected[1]) + abs(dy * expected[0]) < 1


@pytest.mark.parametrize("name, way", [("orbit left", 1), ("orbit right", -1)])
def test_an_orbit_goes_round_what_is_half_near(name, way):
    """Near parts go against the camera by half of 15 % of the width, far ones with it, the middle stays."""
    plan = Plan.of(Settings(num_frames=5, width=128, height=64), SVD_XT, moves=True)
    depth = Image.new("L", (128, 64), 128)
    for left, nearness in ((20, 255), (60, 0), (100, 128)):
        depth.paste(nearness, (left - 16, 0, left + 18, 64))
    spots = Image.new("RGB", (128, 64))
    for channel, left in enumerate((20, 60, 100)):
        spots.paste(tuple(255 * (channel == other) for other in range(3)), (left, 30, left + 4, 34))
    _, course = directions(name, nearness=depth).course(plan, spots)
    moved = [(course.frames[-1, channel] > 0.5).nonzero().float().mean(0) for channel in range(3)]
    for (y, x), left, share in zip(moved, (20, 60, 100), (0.5, -0.5, 0.0), strict=True):
        assert abs(x - left - 1.5 - way * share * 0.15 * 128) < 0.6 and abs(y - 31.5) < 0.1


def test_a_nearness_map_beside_a_motion_takes_the_place_of_its_own(place):
    plan = Plan.of(Settings(num_frames=3, width=64, height=64), SVD_XT, moves=True)
    camera = {"pan": [0.25, 0], "nearness": "half.png"}
    named = directions({"camera": camera}).course(plan, picture())[1]
    beside = directions({"camera": {**camera, "nearness": "gone.png"}}, nearness="half.png")
    assert torch.equal(named.frames, beside.course(plan, picture())[1].frames)


def test_the_command_gives_the_apis_clip_and_notes_its_files(file, place, pipeline):
    words = ("--motion", "drag.json", "--freeze", "half.png", "--save-motion", "course", *HELD)
    assert animate(file, *words, "--output", "clip.png", "--save-latents", "l.safetensors") == OK
    notes = read_metadata("clip.png")
    assert notes["motion"] == "drag.json" and notes["freeze"] == "half.png"
    assert (notes["hold_from"], notes["hold_until"], notes["motion_bucket_id"]) == (100, 0, 17)
    clip = pipeline.animate("photo.png", QUICK, motion="drag.json", freeze="half.png")
    with Image.open("clip.png") as image:
        for number, frame in enumerate(clip.frames):
            image.seek(number)
            assert np.array_equal(np.asarray(image.convert("RGB")), frame)
    drawn = coarse(
        directions("drag.json").motion, torch.from_numpy(np.array(picture())).movedim(2, 0) / 255, 4, {}
    )
    for number in range(4):
        saved = np.asarray(Image.open(f"course/frame_{number:04}.png"), np.float32) / 255
        assert np.abs(saved - drawn.frames[number].movedim(0, 2).numpy()).max() <= 0.6 / 255
    again = [
        "animate",
        "--decode-latents",
        "l.safetensors",
        "--checkpoint",
        str(file),
        "--output",
        "again.png",
    ]
    assert main(again) == OK
    with Image.open("clip.png") as first, Image.open("again.png") as second:
        for number in range(4):
            first.seek(number), second.seek(number)
            assert np.array_equal(first.convert("RGB"), second.convert("RGB"))


def test_a_coarse_video_is_a_motion_video_again(file, place):
    words = ("--motion-video", "coarse", "--motion-mask", "half.png", *HELD)
    assert animate(file, *words, "--output", "clip.png") == OK
    assert read_metadata("clip.png")["motion_video"] == "coarse"


def test_a_coarse_video_of_ones_own_is_read_once_and_goes_with_one_picture(file, place, capsys, monkeypatch):
    read, read_frames = [], motion.read_frames
    monkeypatch.setattr(motion, "read_frames", lambda source: read.append(source) or read_frames(source))
    words = ("--motion-video", "coarse", "--motion-mask", "half.png", *HELD)
    assert animate(file, *words, "--output", "once.png") == OK
    assert read == ["coarse", "half.png"]
    picture(1).save("other.png")
    assert animate(file, "other.png", *words, "--output", "{name}.webp") == REFUSED
    assert "there are 2 IMAGEs, whose clips would be alike; give one." in capsys.readouterr().err


def test_a_coarse_video_is_never_replaced(file, place, capsys):
    assert animate(file, "--motion", "pan_left", "--save-motion", "coarse", "--overwrite", *HELD) == REFUSED
    assert "coarse is there already and stays; name another." in capsys.readouterr().err


def test_each_of_several_pictures_has_a_coarse_video_of_its_own(file, place, capsys):
    picture(1).save("other.png")
    words = ("other.png", "--motion", "pan_left", "--output", "{name}.webp", *HELD)
    assert animate(file, *words, "--save-motion", "course") == REFUSED
    assert "--save-motion course is one name for 2 clips" in capsys.readouterr().err
    assert animate(file, *words, "--save-motion", "course-{name}") == OK
    for name in ("photo", "other"):
        first = np.asarray(Image.open(f"course-{name}/frame_0000.png"))
        assert np.abs(first.astype(int) - np.asarray(Image.open(f"{name}.png"))).max() <= 1
        assert read_metadata(f"course-{name}")["image"] == f"{name}.png"


def test_what_may_be_meant_otherwise_is_said(file, place, capsys, pipeline, caplog):
    odd = {**DRAG, "aspect": 1.7778, "colour": "red"}
    (place / "odd.json").write_text(json.dumps(odd))
    assert animate(file, "--motion", "odd.json", *HELD) == OK
    said = capsys.readouterr().err
    assert "keys that mean nothing here, and are passed over: the motion: colour." in said
    assert "width by height 1.778, and the clip's is 1:" in said
    pipeline.animate(picture(), QUICK, motion=odd)
    assert "passed over" in caplog.text


def test_of_many_unknown_keys_a_warning_names_ten(pipeline, caplog):
    pipeline.animate(picture(), QUICK, motion={**DRAG, **{f"key {number}" * 50: 1 for number in range(99)}})
    assert "and 89 more." in caplog.text and len(caplog.text) < 2000


def region(**fields) -> dict:
    return {"regions": [{"id": "dog", **fields}]}


LONG = {"drags": [{"path": [{"x": 0.1, "y": 0.1}] * 100_000}]}


@pytest.mark.parametrize(
    "motion, words, said",
    [
        ({"version": 2}, (), "the motion: version is 2; 1."),
        ("[]", (), "the motion is []; give an object in braces."),
        ("{", (), "which is no JSON"),
        ('{"drags": [{"path": [{"x": NaN, "y": 0}, {"x": 1, "y": 1}]}]}', (), "NaN is no number"),
        (LONG, (), "bytes; no motion has as many"),
        (region(mask="../half.png"), (), "outside of the folder"),
        (region(mask="/etc/passwd"), (), "outside of the folder"),
        (region(mask="link.png"), (), "outside of the folder"),
        (region(mask=0), (), "by its number, which goes with nodes"),
        (region(mask="gone.png"), (), "there is no such file"),
        (
            region(mask="large.png"),
            (),
            "large.png of the motion is 128×64; accepted is the size of the picture",
        ),
        (region(mask="black.png"), (), "dog has no pixel of the picture in its area"),
        (region(polygon=[[1.5, 0], [2, 0], [2, 1]]), (), "dog has no pixel"),
        (None, ("--freeze", "black.png"), "the freeze mask is black"),
        (None, ("--freeze", "large.png"), "the freeze mask is 128×64"),
        (None, ("--freeze", "gone.png"), "gone.png: there is no such file"),
        (None, ("--motion", "zoom-in"), "accepted are a .json file, and pan left"),
        (None, ("--motion", "orbit left"), "orbit left goes by a nearness map, and there is none; give one"),
        (None, ("--motion", "zoom in", "--nearness", "half.png"), "the camera doesn't pan"),
        (DRAG, ("--nearness", "half.png"), "the camera doesn't pan"),
        (None, ("--nearness", "half.png"), "nearness goes with a motion whose camera pans"),
        (None, ("--motion", "pan left", "--nearness", "gone.png"), "gone.png: there is no such file"),
        (None, ("--motion", "pan left", "--nearness", "large.png"), "the nearness map is 128×64"),
        (None, ("--motion-video", "coarse"), "--motion-video and --motion-mask go together"),
        (DRAG, ("--motion-video", "coarse", "--motion-mask", "half.png"), "give one of them"),
        (
            None,
            ("--motion-video", "three", "--motion-mask", "half.png"),
            "3 pictures of the motion video for",
        ),
        (
            None,
            ("--motion-video", "photo.png", "--motion-mask", "half.png"),
            "1 pictures of the motion video",
        ),
        (None, ("--motion-video", "coarse", "--motion-mask", "three"), "3 pictures of the motion mask for"),
        (None, ("--motion-video", "coarse", "--motion-mask", "large.png"), "give all pictures one size"),
        (None, ("--motion-video", "coarse", "--motion-mask", "black.png"), "the motion mask is black"),
        (None, ("--save-motion", "new"), "nothing moves here"),
        (SKY, ("--save-motion", "new"), "nothing moves here"),
        (None, HELD[:2], "hold_from goes with a motion"),
        (DRAG, ("--hold-from", "9", "--hold-until", "8.9"), "no noise level lies between"),
        (DRAG, ("--end-frame", "photo.png"), "a motion can't go with an end frame"),
    ],
)
def test_a_mistake_is_a_sentence_before_any_work(file, place, capsys, motion, words, said):
    (place / "inside").mkdir()
    Image.new("L", (64, 64)).save("black.png")
    half((128, 64)).save("large.png")
    write_video("three", [np.asarray(picture())] * 3, 6)
    for name in ("black.png", "large.png"):
        (place / "inside" / name).write_bytes((place / name).read_bytes())
    (place / "inside" / "link.png").symlink_to(place / "half.png")
    if motion is not None:
        text = motion if isinstance(motion, str) else json.dumps(motion)
        (place / "inside" / "m.json").write_text(text)
        words = ("--motion", "inside/m.json", *words)
    assert animate(file, *words, "--output", "clip.mp4") == REFUSED
    error = capsys.readouterr().err
    assert said in error and "mistakes:" not in error and "Traceback" not in error
    assert not (place / "clip.mp4").exists() and not (place / "new").exists()


def test_an_input_of_a_motion_is_never_written_over(file, place, capsys):
    (place / "m.json").write_text(json.dumps(region(mask="half.png")))
    for name in ("m.json", "half.png"):
        assert animate(file, "--motion", "m.json", "--output", name, "--overwrite", *HELD) == REFUSED
    assert "half.png is read or written already" in capsys.readouterr().err


def test_a_motion_goes_with_a_picture_and_not_with_latents(file, place, capsys):
    words = ["animate", "--decode-latents", "l.safetensors", "--motion", "drag.json", "--freeze", "half.png"]
    assert main([*words, "--checkpoint", str(file)]) == REFUSED
    assert "--motion and --freeze can't go with --decode-latents" in capsys.readouterr().err


@pytest.mark.parametrize("motion", [7, "sideways", {"drags": {1, 2}}, {"version": float("inf")}])
def test_what_is_no_motion_is_refused_in_python_too(pipeline, motion):
    with pytest.raises(ValueError, match=r"motion"):
        pipeline.animate(picture(), QUICK, motion=motion)


@pytest.mark.parametrize("value", [7, (1, 2)])
def test_a_video_that_is_none_is_refused(pipeline, value):
    with pytest.raises(ValueError, match=r"frames are a int|picture is a int"):
        pipeline.animate(picture(), QUICK, motion=MotionVideo(value, [half()]))


def test_the_pages_example_is_a_motion_without_unknown_keys():
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.+?)```", page, re.DOTALL)
    motion, unknown = tracks.parse(example)
    assert [region.id for region in motion.regions] == ["dog", "sky", "tail"] and not unknown
    section = page[page.index("## Motion") :]
    assert all(f"`{name}`" in section for name in MOVES)
