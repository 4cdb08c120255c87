"""What `inspect` says of a checkpoint, from its header alone."""

import re
from argparse import Namespace

import pytest
import torch
from safetensors.torch import save_file

from stillmotion import builtin_model
from stillmotion.clips.settings import Settings
from stillmotion.headless.commands.inspect import describe, describe_clip
from stillmotion.headless.engine import memory
from stillmotion.svd_model.checkpoint import Checkpoint
from support import checkpoints, golden_family, headers
from support.headers import UNET, released


def report(shapes, dtypes=None, size=4_500_000_000) -> str:
    """Of a file of which only the header can be read."""
    return describe(headers.checkpoint(shapes, dtypes, path="models/mine.safetensors", size=size))


def line(text: str, start: str) -> str:
    """The only line that begins so, its spaces made single."""
    lines = [line for line in text.splitlines() if line.strip().startswith(start)]
    assert len(lines) == 1, f"{len(lines)} lines begin with {start!r}:\n{text}"
    return " ".join(lines[0].split())


@pytest.fixture(scope="module")
def whole() -> str:
    return report(released("svd_xt"))


class TestWholeFile:
    def test_says_which_file_and_variant(self, whole):
        assert whole.splitlines()[0] == "models/mine.safetensors"
        assert line(whole, "variant") == (
            "variant svd_xt: 25 frames (14 for the svd without xt, which has the same keys), 1024×576, "
            "30 steps, linear guidance 1.5 to 3"
        )

    def test_says_sizes(self, whole):
        assert line(whole, "file") == "file 4.50 GB, 2446 tensors"
        # 1 524 623 082 + 632 076 800 + 34 163 664 + 63 579 183
        assert line(whole, "parameters") == "parameters 2,254.44 M used"

    @pytest.mark.parametrize(
        ("network", "numbers"),
        [
            ("UNet", "1,524.62 M 3.05 GB float16"),
            ("temporal decoder", "63.58 M 127.16 MB float16"),
            ("VAE encoder", "34.16 M 68.33 MB float16"),
            ("CLIP image tower", "632.08 M 1.26 GB float16"),
            ("frame-wise decoder", "49.49 M 98.98 MB float16"),
        ],
    )
    def test_has_a_line_for_each_network(self, whole, network, numbers):
        assert line(whole, network) == f"{network} {numbers}"

    def test_ends_with_the_verdict(self, whole):
        assert whole.splitlines()[-1].split() == ["verdict", "whole"]
        assert line(whole, "not needed") == (
            "not needed 252 tensors of parts that animating does without"  # text 6, decoder 140, encoder 106
        )
        assert not re.search("missing|wrong shape|unexpected", whole)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("svd_xt_image_decoder", "svd_xt_image_decoder: 25 frames (14 for the svd without xt"),
        ("sv3d_u", "sv3d_u: 21 frames, 576×576, 50 steps, triangle guidance 1 to 2.5"),
        ("sv3d_p", "sv3d_p: 21 frames, 576×576, 50 steps, triangle guidance 1 to 2.5"),
    ],
)
def test_files_whose_decoder_is_frame_wise_have_one_line_for_it(name, variant):
    text = report(released(name))
    assert variant in line(text, "variant")
    assert "49.49 M" in line(text, "frame-wise decoder")
    assert "temporal decoder" not in text
    assert line(text, "verdict") == "verdict whole"


def test_the_built_in_file_is_said_to_take_what_animate_takes():
    text = describe(builtin_model.load())
    assert line(text, "variant") == (
        "variant svd_xt: 14 frames, 128×128, 25 steps, linear guidance 1 to 2.5"  # as the model card says
    )


def test_motionctrls_file_is_said_to_be_what_it_is():
    text = report(golden_family.keys("motionctrl_svd"))
    assert line(text, "variant") == (
        "variant motionctrl_svd: 14 frames, 1024×576, 25 steps, linear guidance 1 to 2.5"
    )
    assert line(text, "verdict") == "verdict whole"
    assert "unexpected" not in text


@pytest.mark.parametrize("name", ["svd_xt", "svd_xt_image_decoder", "sv3d_u", "sv3d_p"])
@pytest.mark.parametrize("num_frames", [None, 14, 21])
def test_what_is_said_is_what_animate_takes(name, num_frames):
    """Also of files that name their own number of frames."""
    shapes = released(name)
    checkpoint = headers.checkpoint(shapes, metadata={"num_frames": num_frames} if num_frames else None)
    taken = Settings().complete(checkpoint.variant)
    said = line(describe(checkpoint), "variant")
    assert (
        f"{taken.num_frames} frames" in said and f"{taken.width}×{taken.height}, {taken.steps} steps" in said
    )
    assert said.endswith(f"{taken.guidance} guidance {taken.min_guidance:g} to {taken.max_guidance:g}")


def test_says_when_there_is_no_frame_wise_decoder():
    shapes = {key: s for key, s in released("svd_xt").items() if ".embedders.3.encoder.decoder." not in key}
    text = report(shapes)
    assert line(text, "frame-wise decoder") == "frame-wise decoder not in this file"
    assert line(text, "verdict") == "verdict whole"


def test_mixed_dtypes_are_named_the_most_frequent_first_and_weighed():
    shapes = released("svd_xt")
    dtypes = {key: torch.float8_e4m3fn if len(shape) > 1 else torch.float32 for key, shape in shapes.items()}
    unet = {key: shape for key, shape in shapes.items() if key.startswith(UNET)}
    small = sum(shape[0] for shape in unet.values() if len(shape) == 1)
    gigabytes = (1_524_623_082 + 3 * small) / 1e9
    text = line(report(shapes, dtypes), "UNet")
    assert text == f"UNet 1,524.62 M {gigabytes:.2f} GB float8_e4m3fn, float32"


@pytest.fixture(scope="module")
def damaged() -> str:
    shapes = released("svd_xt")
    for key in [key for key in shapes if key.startswith(UNET + "output_blocks.0.0.")]:
        del shapes[key]
    del shapes["first_stage_model.decoder.conv_in.bias"]
    shapes[UNET + "out.2.bias"] = (7,)
    shapes["somebody.elses"] = (1,)
    return report(shapes)


class TestDamagedFile:
    def test_counts_missing_keys_and_shows_the_first_ten_of_each_network(self, damaged):
        lines = damaged.splitlines()
        counts = [line.split()[1] for line in lines if line.startswith("missing")]
        lost = [key for key in released("svd_xt") if key.startswith(UNET + "output_blocks.0.0.")]
        assert counts == [str(len(lost)), "1"]
        start = lines.index(next(line for line in lines if line.startswith("missing"))) + 1
        shown = [line.strip() for line in lines[start : start + 10]]
        assert len(set(shown)) == 10 and set(shown) <= set(lost)
        assert lines[start + 10].strip() == f"… and {len(lost) - 10} more"
        assert "  first_stage_model.decoder.conv_in.bias" in lines

    def test_shows_both_shapes(self, damaged):
        assert line(damaged, "wrong shape") == "wrong shape 1 tensors"
        assert f"  {UNET}out.2.bias is [7] instead of [4]" in damaged.splitlines()

    def test_shows_unexpected_keys(self, damaged):
        assert line(damaged, "unexpected") == "unexpected 1 tensors"
        assert "  somebody.elses" in damaged.splitlines()

    def test_ends_with_the_verdict(self, damaged):
        assert line(damaged, "verdict") == "verdict not whole: it can't be used as it is"

    def test_a_network_that_is_not_there_has_no_parameters_and_no_dtype(self):
        shapes = {key: shape for key, shape in released("svd_xt").items() if ".visual." not in key}
        text = report(shapes)
        assert line(text, "CLIP image tower") == "CLIP image tower 0.00 M 0.00 MB -"
        assert line(text, "absent").startswith("absent CLIP image tower: --image-encoder")
        assert "missing" not in text

    @pytest.mark.parametrize(("count", "more"), [(10, None), (11, "… and 1 more")])
    def test_ten_keys_are_shown_whole(self, count, more):
        extra = {f"extra.{number}": (1,) for number in range(count)}
        text = report(released("svd_xt") | extra)
        assert line(text, "unexpected") == f"unexpected {count} tensors"
        assert text.count("  extra.") == 10
        assert (more or "more") in text or more is None
        assert ("more" in text) == (more is not None)


def test_says_which_file_a_part_is_from(tmp_path):
    whole = checkpoints.write(tmp_path / "svd.safetensors")
    unet = tmp_path / "unet.safetensors"
    save_file(Checkpoint.open(whole).unet.tensors(), unet)
    text = describe(Checkpoint.open(unet, vae=whole, image_encoder=whole))
    assert "from" not in line(text, "UNet")
    assert line(text, "temporal decoder").endswith(f"from {whole}")
    assert line(text, "CLIP image tower").endswith(f"from {whole}")
    assert line(text, "verdict") == "verdict whole"


class TestClip:
    """The report on a clip's memory, for a device that need not be here."""

    @staticmethod
    def of(clip=(1024, 576, 25), device="cuda", dtype="float16", decode_dtype="float32") -> str:
        options = Namespace(clip=clip, device=device, dtype=dtype, decode_dtype=decode_dtype)
        return describe_clip(headers.checkpoint(released("svd_xt")), options)

    @pytest.fixture
    def text(self):
        return self.of()

    def test_says_which_clip(self, text):
        expected = "clip 25 frames of 1024×576, in float16 and decoded in float32, on cuda"
        assert line(text, "clip") == expected

    @pytest.mark.parametrize(
        ("network", "weights"),
        [("CLIP image tower", 1.26), ("VAE encoder", 0.07), ("UNet", 3.05), ("temporal decoder", 0.13)],
    )
    def test_has_a_line_for_each_stage(self, text, network, weights):
        said = [
            float(n) * (1 if u == "GB" else 1e-3)
            for n, u in re.findall(r"([\d.]+) (GB|MB)", line(text, f"{network} "))
        ]
        assert said[0] == pytest.approx(weights, abs=0.01)
        assert said[1] <= said[2]

    def test_a_long_clip_is_sampled_in_a_chunks_memory(self, text):
        longer = self.of((1024, 576, 100))
        assert line(longer, "UNet ") == line(text, "UNet ")
        assert line(longer, "temporal decoder ") != line(text, "temporal decoder ")
        assert line(longer, "clip").startswith("clip 100 frames of 1024×576")

    def test_the_more_memory_the_fewer_calls(self, text):
        """From too little over weights that stream to all that stays."""
        ways = re.findall(r"^in .*$", text, re.MULTILINE)
        assert "too little for sampling 25 frames of 1024×576" in ways[0] or "stream" in ways[0]
        assert any("the weights of the UNet stream from host memory" in way for way in ways)
        assert ways[-1].endswith("  all networks stay on the device")
        calls = [float(n) for n in re.findall(r"temporal decoder ([\d.]+) × the calls", text)]
        assert calls == sorted(calls, reverse=True)

    def test_says_how_it_runs_here_where_the_device_is_here(self, text, monkeypatch):
        assert "free here" not in text
        monkeypatch.setattr(memory, "available", lambda device: 10**12)
        here = line(self.of(device="cpu", dtype=None), "free here")
        assert here == "free here 1000.00 GB: all networks stay on the device"

    def test_a_size_that_no_clip_has_is_refused(self):
        with pytest.raises(ValueError, match="width"):
            self.of(clip=(1000, 576, 25))
