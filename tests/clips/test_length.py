"""How a clip of more frames than its checkpoint's comes about, and what is refused."""

import pytest

from stillmotion.clips.plan import Plan
from stillmotion.clips.settings import Settings
from stillmotion.svd_model.checkpoint.variants import (
    MOTIONCTRL_SVD,
    SV3D_P,
    SV3D_U,
    SVD_XT,
    find_variant,
)

EXVIDEO = find_variant(768, frame_wise_decoder=False, frame_positions=128)


def complete(variant=SVD_XT, **chosen) -> Settings:
    return Settings(**chosen).complete(variant)


@pytest.mark.parametrize("frames", [None, 1, 14, 20, 25])
def test_a_clip_within_the_checkpoints_frames_is_sampled_whole(frames):
    settings = complete(num_frames=frames)
    assert (settings.long, settings.chunk, settings.overlap, settings.match) == (None,) * 4
    assert settings.frames_at_once == len(settings.guidance_scales()) == (frames or 25)
    assert not {"long", "chunk", "overlap", "match"} & settings.as_metadata().keys()


def test_a_longer_clip_is_a_chain_of_the_checkpoints_frames():
    settings = complete(num_frames=100)
    assert (settings.long, settings.chunk, settings.overlap, settings.match) == ("chain", 25, 6, 1.0)
    assert (settings.num_frames, settings.steps, settings.max_guidance) == (100, 30, 3.0)
    assert settings.frames_at_once == 25 and len(settings.guidance_scales()) == 25


def test_a_chunk_of_svds_frames_has_svds_numbers():
    settings = complete(num_frames=100, chunk=14)
    assert (settings.chunk, settings.steps, settings.max_guidance) == (14, 25, 2.5)
    assert complete(num_frames=20, chunk=14).long == "chain"


def test_exvideos_chunks_have_its_128_frames():
    assert complete(EXVIDEO, num_frames=128).long is None
    settings = complete(EXVIDEO, num_frames=300)
    assert (settings.long, settings.frames_at_once, settings.max_guidance) == ("chain", 128, 2.0)


@pytest.mark.parametrize("variant", [SV3D_U, SV3D_P, MOTIONCTRL_SVD])
def test_other_checkpoints_go_on_sampling_a_long_clip_whole(variant):
    assert complete(variant, num_frames=40).frames_at_once == 40


@pytest.mark.parametrize("changes", [{"loop": "pinned"}, {"loop": "shift"}])
def test_a_loop_is_no_chain(changes):
    assert complete(num_frames=50, **changes).long is None


def test_a_clip_between_pictures_is_no_chain():
    assert Settings(num_frames=50).complete(SVD_XT, pictures=True).long is None


@pytest.mark.parametrize("long", ["windows", "freenoise"])
def test_windows_are_guided_by_one_ramp_over_all_frames(long):
    settings = complete(num_frames=100, long=long)
    assert settings.frames_at_once == 25 and settings.match is None
    assert len(settings.guidance_scales()) == 100
    assert complete(num_frames=100, long="whole").frames_at_once == 100


@pytest.mark.parametrize("chunk, overlap", [(2, 1), (3, 1), (5, 2), (14, 6), (25, 6)])
def test_the_default_overlap_is_at_most_half_of_a_chunk(chunk: int, overlap: int):
    assert complete(num_frames=50, chunk=chunk).overlap == overlap


@pytest.mark.parametrize(
    "chosen, words",
    [
        ({"num_frames": 100, "overlap": 25}, "overlap is 25.* 1 to 24"),
        ({"num_frames": 100, "chunk": 14, "overlap": 14}, "overlap is 14.* 1 to 13"),
        ({"num_frames": 100, "overlap": 0}, "overlap is 0"),
        ({"overlap": 3}, "overlap goes with a clip of more frames .* 25"),
        ({"match": 0.5}, "match goes with a clip of more frames"),
        ({"chunk": 25}, "chunk goes with a clip of more frames"),
        (
            {"num_frames": 30, "chunk": 40},
            "chunk goes with a clip of more frames than a chunk's 40, .* has 30",
        ),
        ({"num_frames": 100, "long": "windows", "match": 1}, "match goes with long chain"),
        ({"num_frames": 100, "long": "whole", "overlap": 6}, "overlap goes with long chain"),
        ({"num_frames": 100, "long": "chain", "loop": "pinned"}, "long can't go with the loop pinned"),
        (
            {"num_frames": 100, "long": "chain", "between": "mpd"},
            "between is mpd, and the clip has one picture",
        ),
        ({"num_frames": 100, "long": "windows", "feature_cache": 2}, "feature_cache is 2"),
        ({"num_frames": 100, "long": "freenoise", "feature_cache": 2}, "feature_cache is 2"),
        ({"num_frames": 50, "loop": "shift", "feature_cache": 3}, "feature_cache is 3.* loop shift"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"num_frames": 10**6}, "num_frames is 1000000"),
        ({"num_frames": 100, "guidance": [1.0] * 100}, "25 frames"),
    ],
)
def test_what_can_not_be_is_refused(chosen: dict, words: str):
    with pytest.raises(ValueError, match=words):
        complete(**chosen)


def test_deep_features_may_be_kept_within_each_chunk():
    assert complete(num_frames=100, feature_cache=2).long == "chain"


@pytest.mark.parametrize("variant", [SV3D_U, SV3D_P, MOTIONCTRL_SVD])
def test_chunks_are_refused_for_checkpoints_that_know_one_run(variant):
    with pytest.raises(ValueError, match="long goes with SVD"):
        complete(variant, num_frames=100, long="chain")


def test_control_pictures_are_refused_for_a_clip_in_chunks():
    with pytest.raises(ValueError, match=r"long chain can't go with a ControlNet.*25 frames, or long whole"):
        Plan.of(Settings(num_frames=30, width=64, height=64), SVD_XT).control_pictures([])
