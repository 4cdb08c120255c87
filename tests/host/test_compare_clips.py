"""SVD Compare Clips in the host: the frames it writes, what it tells the page, and what it refuses."""

from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
from PIL import Image

from support import graphs, host
from support.graphs import node


def graph_of(seed: int, **inputs) -> dict:
    """A clip of four frames, kept losslessly and shown as a; further inputs of the node."""
    compare = node("StillmotionCompareClips", a=["decode", 0], fps=8.0, **inputs)
    keep = node("SaveImage", images=["decode", 0], filename_prefix=f"kept_{seed}")
    return graphs.first_video(seed=seed) | {"compare": compare, "keep": keep}


def shown(server, entry: dict) -> list[dict]:
    assert host.succeeded(entry), host.error_of(entry)
    return entry["outputs"]["compare"]["stillmotion_clip"]


def picture(server, file: dict) -> np.ndarray:
    with urlopen(f"{server.url}/view?{urlencode(file)}", timeout=30) as answer:
        return np.asarray(Image.open(answer).convert("RGB")).astype(int)


def test_its_frames_are_those_of_the_clip_without_loss(server, base):
    (clip,) = shown(server, server.run(graph_of(701)))
    assert {name: clip[name] for name in ("label", "fps", "width", "height")} == {
        "label": "A",
        "fps": 8.0,
        "width": 128,
        "height": 64,
    }
    kept = sorted((base / "output").glob("kept_701*.png"))
    assert len(clip["frames"]) == len(kept) == 4
    for file, path in zip(clip["frames"], kept, strict=True):
        assert file["type"] == "temp"
        # A PNG of the host's is cut off, where ours is rounded.
        difference = picture(server, file) - np.asarray(Image.open(path).convert("RGB")).astype(int)
        assert set(np.unique(difference)) <= {0, 1}


def test_two_clips_are_told_apart_and_no_run_replaces_anothers_files(server):
    entries = [server.run(graph_of(seed, b=["image", 0])) for seed in (702, 703)]
    clips = [shown(server, entry) for entry in entries]
    assert [[clip["label"] for clip in pair] for pair in clips] == [["A", "B"]] * 2
    assert [len(clip["frames"]) for clip in clips[0]] == [4, 1]
    names = [frame["filename"] for pair in clips for clip in pair for frame in clip["frames"]]
    assert len(names) == len(set(names)) == 10


def test_what_is_no_clip_is_refused_in_words(server):
    for of, words in (("empty", "the batch of images is empty"), ("mask", "the image is")):
        graph = {
            "odd": node("TestsOddImage", of=of),
            "compare": node("StillmotionCompareClips", a=["odd", 0], fps=6.0),
        }
        assert words in host.error_of(server.run(graph))
