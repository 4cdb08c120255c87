"""The command line as a user meets it: what it makes, and what it says of every mistake."""

import functools
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from stillmotion import __version__
from stillmotion.headless import pipeline
from stillmotion.headless.command_line import INTERRUPTED, NOT_WHOLE, OK, REFUSED, main
from stillmotion.headless.commands import animate as animate_module
from stillmotion.headless.engine import memory
from stillmotion.headless.files.videos import read_metadata
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.networks.unet import VideoUNet
from support import checkpoints, lora_files, tiny

QUICK = ("--frames", "2", "--width", "64", "--height", "64", "--steps", "1")


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "in" / "picture.png"
    path.parent.mkdir()
    Image.new("RGB", (96, 64), (200, 80, 30)).save(path)
    return path


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def checkpoint_file(tmp_path_factory):
    """The path of a small checkpoint of a kind, each written once."""
    folder = tmp_path_factory.mktemp("checkpoints")

    @functools.cache
    def write(kind, name):
        return checkpoints.write(folder / name, kind, sizes=tiny.SMALL)

    return write


@pytest.fixture
def svd_file(checkpoint_file):
    return checkpoint_file("svd", "tiny.safetensors")


@pytest.fixture(scope="module")
def lora_file(tmp_path_factory):
    """A LoRA for that file, of two modules."""
    shapes = lora_files.shapes(VideoUNet(tiny.SMALL.unet, device="meta"))
    block = "middle_block.1.transformer_blocks.0"
    tensors = lora_files.random_pairs(shapes, f"{block}.attn1.to_q", f"{block}.attn2.to_v")
    return lora_files.write(tmp_path_factory.mktemp("loras") / "style.safetensors", tensors)


@pytest.fixture
def without(svd_file, tmp_path):
    """Writes the svd file without a tensor, which its header then calls by another name."""

    def write(key):
        content = svd_file.read_bytes()
        lost = "x" * len(key)
        assert content.count(f'"{key}"'.encode()) == 1
        path = tmp_path / "x.safetensors"
        path.write_bytes(content.replace(f'"{key}"'.encode(), f'"{lost}"'.encode()))
        return path

    return write


def refusal_of(capsys, *arguments):
    """What the command says when it refuses, with the exit status of a mistake; a line for each."""
    assert main([str(argument) for argument in arguments]) == REFUSED
    captured = capsys.readouterr()
    assert captured.out == ""
    before, error, said = captured.err.rpartition("error: ")
    assert error and "Traceback" not in before
    return said.strip()


class TestAnimate:
    @pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.webp", "clip.gif", "clip.png", "frames"])
    def test_writes_what_the_extension_says_and_prints_where(self, capsys, picture, out, name):
        assert main(["animate", str(picture), "--output", str(out / name), *QUICK, "--seed", "7"]) == OK
        assert [path.name for path in out.iterdir()] == [name]
        captured = capsys.readouterr()
        assert captured.out.strip() == str(out / name)
        assert "built-in model is a small one for a first try" in captured.err
        assert "--checkpoint" in captured.err
        notes = read_metadata(out / name)
        assert notes["seed"] == 7
        assert notes["stillmotion"] == __version__
        assert notes["image"] == "picture.png"
        assert (notes["num_frames"], notes["width"], notes["steps"]) == (2, 64, 1)

    def test_writes_several_outputs_of_one_clip(self, picture, out):
        both = ["--output", str(out / "a.png"), "--output", str(out / "b")]
        assert main(["animate", str(picture), *both, *QUICK]) == OK
        with Image.open(out / "a.png") as animated:
            animated.seek(1)
            assert np.array_equal(animated.convert("RGB"), Image.open(out / "b" / "frame_0001.png"))

    def test_checkpoint_and_its_hash_are_in_the_metadata(self, picture, out, svd_file):
        arguments = ["--checkpoint", str(svd_file), "--output", str(out / "a.webp"), *QUICK]
        assert main(["animate", str(picture), *arguments]) == OK
        notes = read_metadata(out / "a.webp")
        assert notes["checkpoint"] == "tiny.safetensors"
        expected = subprocess.run(
            ["sha256sum", svd_file], capture_output=True, text=True, check=True
        ).stdout.split()
        assert notes["checkpoint_sha256"] == expected[0]

    def test_a_checkpoint_is_hashed_once_for_all_pictures(self, picture, out, svd_file, monkeypatch):
        hashed, sha256 = [], animate_module.sha256
        monkeypatch.setattr(
            animate_module, "sha256", lambda path, *rest: hashed.append(path) or sha256(path, *rest)
        )
        other = picture.with_name("other.png")
        other.write_bytes(picture.read_bytes())
        arguments = ["--checkpoint", str(svd_file), "--output", str(out / "{name}.webp"), *QUICK]
        assert main(["animate", str(picture), str(other), *arguments]) == OK
        assert hashed == [svd_file]
        assert (
            read_metadata(out / "other.webp")["checkpoint_sha256"]
            == read_metadata(out / f"{picture.stem}.webp")["checkpoint_sha256"]
        )

    def test_parts_of_other_files_are_in_the_metadata(self, picture, out, svd_file, checkpoint_file):
        other = checkpoint_file("svd_image_decoder", "other.safetensors")
        arguments = [
            "--checkpoint",
            str(svd_file),
            "--vae",
            str(other),
            "--output",
            str(out / "a.webp"),
            *QUICK,
        ]
        assert main(["animate", str(picture), *arguments]) == OK
        notes = read_metadata(out / "a.webp")
        assert (notes["checkpoint"], notes["vae"]) == ("tiny.safetensors", "other.safetensors")
        hashes = notes["checkpoint_sha256"]
        assert hashes == {
            f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (svd_file, other)
        }

    def test_a_part_needs_a_checkpoint(self, capsys, picture, out, svd_file):
        arguments = [
            "--vae",
            str(svd_file),
            "--image-encoder",
            str(svd_file),
            "--output",
            str(out / "a.webp"),
        ]
        words = refusal_of(capsys, "animate", str(picture), *arguments)
        assert "--vae and --image-encoder would replace a part" in words and "--checkpoint" in words

    def test_loras_are_counted_and_noted(self, capsys, picture, out, svd_file, lora_file):
        loras = ["--lora", f"{lora_file}:0.5", "--lora", f"{lora_file}:-1:0"]
        arguments = ["--output", str(out / "a.webp"), *QUICK, "--checkpoint", str(svd_file), *loras]
        assert main(["animate", str(picture), *arguments]) == OK
        assert capsys.readouterr().err.count("style.safetensors: all 2 modules found their layer.") == 2
        notes = read_metadata(out / "a.webp")["loras"]
        assert [(note["strength"], note["temporal_strength"]) for note in notes] == [(0.5, 0.5), (-1, 0)]
        digest = hashlib.sha256(lora_file.read_bytes()).hexdigest()
        assert {(note["file"], note["sha256"]) for note in notes} == {("style.safetensors", digest)}

    def test_loras_that_can_not_be_used_are_said_with_all_else(
        self, capsys, picture, out, svd_file, lora_file
    ):
        arguments = ["animate", picture, "--output", out / "a.webp", "--checkpoint", svd_file, "--steps", "0"]
        said = refusal_of(capsys, *arguments, "--lora", lora_file.with_name("stile.safetensors"))
        assert "there is no such file; did you mean style.safetensors?" in said and "steps is 0" in said
        said = refusal_of(capsys, *arguments, "--lora", f"{lora_file}:1e999")
        assert "has a strength beyond all numbers" in said and "steps is 0" in said
        said = refusal_of(capsys, *arguments, "--lora", svd_file)
        assert "tiny.safetensors looks like an SVD checkpoint, not a LoRA." in said and "steps is 0" in said

    def test_a_lora_is_neither_written_over_nor_for_latents(self, capsys, picture, out, lora_file):
        arguments = ["--output", lora_file, *QUICK, "--lora", lora_file]
        assert "style.safetensors" in refusal_of(capsys, "animate", picture, *arguments)
        latents = ["--decode-latents", out / "l.safetensors", "--lora", lora_file]
        assert "lora can't be given with --decode-latents" in refusal_of(capsys, "animate", *latents)

    def test_no_metadata_leaves_it_out(self, picture, out):
        assert main(["animate", str(picture), "--output", str(out / "a.mp4"), *QUICK, "--no-metadata"]) == OK
        assert read_metadata(out / "a.mp4") is None

    def test_same_command_same_bytes(self, picture, out):
        for name in ("a.png", "b.png"):
            assert main(["animate", str(picture), "--output", str(out / name), *QUICK]) == OK
        assert (out / "a.png").read_bytes() == (out / "b.png").read_bytes()

    def test_latents_saved_and_decoded_are_the_same_clip(self, picture, out):
        saved = ["--save-latents", str(out / "l.safetensors")]
        assert main(["animate", str(picture), "--output", str(out / "a"), *saved, *QUICK, "--fps", "9"]) == OK
        decode = ["--decode-latents", str(out / "l.safetensors"), "--output", str(out / "b")]
        assert main(["animate", *decode]) == OK
        for name in ("frame_0000.png", "frame_0001.png"):
            assert np.array_equal(Image.open(out / "a" / name), Image.open(out / "b" / name))
        notes = read_metadata(out / "b")
        assert notes["fps"] == 9
        assert notes["decoded_with"]["checkpoint"] == notes["checkpoint"] == "stillmotion-tiny (built in)"

    def test_where_latents_come_from_stays_known(self, capsys, picture, out, svd_file, checkpoint_file):
        other = checkpoint_file("svd_image_decoder", "other.safetensors")
        saved = ["--save-latents", str(out / "l.safetensors"), "--checkpoint", str(svd_file)]
        assert main(["animate", str(picture), *saved, *QUICK]) == OK
        capsys.readouterr()
        decode = ["--decode-latents", str(out / "l.safetensors"), "--output", str(out / "b.png")]
        assert "sampled with tiny.safetensors; give a --checkpoint" in refusal_of(capsys, "animate", *decode)
        assert main(["animate", *decode, "--checkpoint", str(other)]) == OK
        notes = read_metadata(out / "b.png")
        assert notes["checkpoint"] == "tiny.safetensors"
        assert notes["checkpoint_sha256"] == hashlib.sha256(svd_file.read_bytes()).hexdigest()
        assert notes["decoded_with"]["checkpoint"] == "other.safetensors"
        assert notes["decoded_with"]["checkpoint_sha256"] == hashlib.sha256(other.read_bytes()).hexdigest()

    def test_an_orbit_decoded_later_ends_on_the_picture_too(self, picture, out, checkpoint_file):
        sv3d = checkpoint_file("sv3d_u", "sv3d_u.safetensors")
        given = ["--checkpoint", str(sv3d), "--output"]
        saved = ["--save-latents", str(out / "l.safetensors")]
        assert main(["animate", str(picture), *given, str(out / "a"), *saved, *QUICK]) == OK
        assert main(["animate", "--decode-latents", str(out / "l.safetensors"), *given, str(out / "b")]) == OK
        for name in ("frame_0000.png", "frame_0001.png"):
            assert np.array_equal(Image.open(out / "a" / name), Image.open(out / "b" / name))

    def test_an_opaque_picture_for_sv3d_is_remarked_upon(self, capsys, picture, out, checkpoint_file):
        sv3d = checkpoint_file("sv3d_u", "sv3d_u.safetensors")
        command = ["animate", str(picture), "--checkpoint", str(sv3d), "--output", str(out / "a.png"), *QUICK]
        assert main(command) == OK
        assert "has no transparency; SV3D wants a cut-out object" in capsys.readouterr().err

    def test_latents_alone_need_no_output(self, picture, out):
        assert main(["animate", str(picture), "--save-latents", str(out / "l.safetensors"), *QUICK]) == OK
        with safe_open(out / "l.safetensors", "pt") as file:
            assert file.get_slice("latents").get_shape() == [2, 4, 8, 8]
            assert json.loads(file.metadata()["stillmotion"])["seed"] == 0

    def test_orbit(self, picture, out, checkpoint_file):
        sv3d = checkpoint_file("sv3d_p", "sv3d_p.safetensors")
        arguments = ["--checkpoint", str(sv3d), "--orbit", "--elevation", "30", "--output", str(out / "o")]
        assert main(["animate", str(picture), *arguments, *QUICK]) == OK
        assert read_metadata(out / "o")["elevation"] == [30.0, 30.0]
        last = np.asarray(Image.open(out / "o" / "frame_0001.png"))
        assert (last[32, 32] == (200, 80, 30)).all()

    def test_every_option_is_taken(self, picture, out):
        options = {
            "--fit": "pad",
            "--fps": "12.5",
            "--motion-bucket-id": "200",
            "--noise-aug": "0.1",
            "--sampler": "heun",
            "--churn": "0.5",
            "--schedule": "karras",
            "--sigma-min": "0.01",
            "--sigma-max": "80",
            "--rho": "5",
            "--guidance": "trapezoid",
            "--min-guidance": "3",
            "--max-guidance": "1",
            "--device": "cpu",
            "--dtype": "bfloat16",
        }
        given = [text for option in options.items() for text in option]
        given += ["--guidance-interval", "0.1", "50"]
        assert main(["animate", str(picture), "--output", str(out / "a.png"), *QUICK, *given]) == OK
        notes = read_metadata(out / "a.png")
        assert notes["guidance_interval"] == [0.1, 50.0]
        assert (notes["fit"], notes["sampler"], notes["sigma_max"], notes["rho"]) == ("pad", "heun", 80, 5)
        assert (notes["min_guidance"], notes["max_guidance"]) == (3, 1)

    def test_lists_of_sigmas_and_scales(self, picture, out):
        lists = ["--schedule", "700,20,1,0", "--guidance", "1,2.5"]
        size = ["--frames", "2", "--width", "64", "--height", "64"]
        assert main(["animate", str(picture), "--output", str(out / "a.png"), *size, *lists]) == OK
        notes = read_metadata(out / "a.png")
        assert (notes["steps"], notes["guidance"]) == (3, [1, 2.5])


class TestPictures:
    @pytest.mark.parametrize("mode", ["RGBA", "I;16", "L", "P", "CMYK", "1", "LA"])
    def test_every_mode_is_animated(self, out, tmp_path, mode):
        path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
        Image.new("RGB", (64, 64), (120, 130, 140)).convert("L" if mode == "I;16" else "RGB").convert(
            mode
        ).save(path)
        assert main(["animate", str(path), "--output", str(out / "a.png"), *QUICK]) == OK

    def test_exif_rotation_is_applied(self, out, tmp_path):
        """An upright and a turned copy of one picture give one clip."""
        pixels = np.arange(64 * 128 * 3, dtype=np.uint32).reshape(64, 128, 3) % 251
        upright = Image.fromarray(pixels.astype(np.uint8))
        upright.save(tmp_path / "upright.png")
        exif = Image.Exif()
        exif[0x0112] = 6
        upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
        for name in ("upright", "turned"):
            arguments = ["--output", str(out / name), *QUICK, "--no-metadata"]
            assert main(["animate", str(tmp_path / f"{name}.png"), *arguments]) == OK
        frames = [np.asarray(Image.open(out / name / "frame_0000.png")) for name in ("upright", "turned")]
        assert np.array_equal(*frames)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "picture.png"),
            (b"", "is empty"),
            (b"this is no picture, but a text", "picture.png"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xea\x60\0\0\xea\x60\x08\2\0\0\0", "picture.png"),
        ],
        ids=["missing", "empty", "text", "huge"],
    )
    def test_what_is_no_usable_picture_is_refused(self, capsys, out, tmp_path, content, message):
        path = tmp_path / "picture.png"
        if content is not None:
            path.write_bytes(content)
        assert message in refusal_of(capsys, "animate", path, "--output", out / "a.mp4", *QUICK)
        assert not list(out.iterdir())


class TestCheckpoints:
    def check(self, capsys, picture, out, path, message):
        said = refusal_of(capsys, "animate", picture, "--checkpoint", path, "--output", out / "a.mp4", *QUICK)
        assert message in said
        assert not list(out.iterdir())

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "x.safetensors: there is no such file; check its name. The released files are at "),
            (b"", "is empty (0 bytes)"),
            (b"no safetensors at all, but some text", "is no safetensors file, or its header is damaged"),
            (b"<!DOCTYPE html><title>404</title>", "is a web page"),
            (b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
            (b"\x20\0\0\0\0\0\0\0" + b'{"a": broken}'.ljust(32), "its header is damaged"),
        ],
        ids=["missing", "empty", "text", "web page", "lfs", "corrupted header"],
    )
    def test_what_is_no_checkpoint_is_refused(self, capsys, picture, out, tmp_path, content, message):
        path = tmp_path / "x.safetensors"
        if content is not None:
            path.write_bytes(content)
        self.check(capsys, picture, out, path, message)

    def test_truncated(self, capsys, picture, out, svd_file, tmp_path):
        path = tmp_path / "x.safetensors"
        path.write_bytes(svd_file.read_bytes()[:1_000_000])
        self.check(capsys, picture, out, path, "is cut short")

    @pytest.mark.parametrize(
        ("keys", "name"),
        [
            (
                ["model.diffusion_model.input_blocks.0.0.weight", "cond_stage_model.transformer.x"],
                "Stable Diffusion 1.5",
            ),
            (["model.diffusion_model.input_blocks.0.0.weight", "conditioner.embedders.1.model.x"], "SDXL"),
            (["lora_unet_down_blocks_0.lora_down.weight"], "a LoRA"),
            (["something.else"], "a model unknown to Stillmotion"),
        ],
    )
    def test_something_else_is_named(self, capsys, picture, out, tmp_path, keys, name):
        path = tmp_path / "x.safetensors"
        save_file({key: torch.zeros(4, 4) for key in keys}, path)
        self.check(capsys, picture, out, path, f"looks like {name}")

    def test_missing_keys_are_counted_and_named(self, capsys, picture, out, svd_file, without):
        key = "model.diffusion_model.time_embed.0.weight"
        count = len(Checkpoint.open(svd_file).unet.expected)
        self.check(capsys, picture, out, without(key), f"1 of {count} tensors are missing ({key})")

    def test_a_damaged_decoder_is_named_before_sampling(self, capsys, monkeypatch, picture, out, without):
        path = without("first_stage_model.decoder.norm_out.bias")
        monkeypatch.setattr(pipeline.Pipeline, "sample_run", None)
        self.check(capsys, picture, out, path, "the temporal decoder is not whole: 1 of")

    def test_a_damaged_decoder_does_not_matter_where_nothing_is_decoded(self, picture, out, without):
        path = without("first_stage_model.decoder.norm_out.bias")
        saved = ["--checkpoint", str(path), "--save-latents", str(out / "l.safetensors")]
        assert main(["animate", str(picture), *saved, *QUICK]) == OK

    def test_orbit_needs_sv3d(self, capsys, picture, out, svd_file):
        arguments = ("--checkpoint", svd_file, "--orbit", "--output", out / "a.mp4")
        assert "--orbit goes with sv3d_u and sv3d_p" in refusal_of(
            capsys, "animate", picture, *arguments, *QUICK
        )


class TestOptions:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                "--width 1000",
                "width is 1000; it must be a multiple of 64 from 64 to 4096. The nearest is 1024",
            ),
            (
                "--height 570",
                "height is 570; it must be a multiple of 64 from 64 to 4096. The nearest is 576",
            ),
            ("--width 10", "The nearest is 64."),
            ("--width 0", "width is 0; it must be a multiple of 64 from 64 to 4096"),
            ("--height -64", "height is -64"),
            (
                "--width 100000",
                "width is 100000; it must be a multiple of 64 from 64 to 4096",
            ),
            ("--frames 0", "--frames is 0; it must be a whole number from 1 to 1024"),
            ("--steps 0", "steps is 0"),
            ("--steps -1", "steps is -1"),
            ("--fps nan", "fps is nan; it must be a number from 1 to 240"),
            ("--fps 0", "fps is 0.0"),
            ("--noise-aug inf", "noise_aug is inf"),
            ("--noise-aug -1", "noise_aug is -1.0"),
            ("--min-guidance nan", "min_guidance is nan"),
            ("--max-guidance inf", "max_guidance is inf"),
            ("--sigma-max nan", "sigma_max is nan"),
            ("--sigma-max 0.001", "0 < sigma_min < sigma_max"),
            ("--guidance 1,nan", "guidance is nan"),
            ("--guidance 1,2,3", "give one finite number for each of the 2 frames"),
            ("--guidance wavy", "guidance is 'wavy'; accepted are constant, linear, triangle, trapezoid"),
            ("--schedule 1,5", "they must fall from each to the next"),
            ("--schedule best", "schedule is 'best'; accepted are karras"),
            ("--sampler plms", "sampler is 'plms'; accepted are euler"),
            ("--fit squash", "fit is 'squash'; accepted are crop, pad, stretch"),
            ("--sampler lcm --churn 1", "churn goes with euler and heun"),
            (
                "--schedule align_your_steps --sigma-max 80",
                "sigma_max can't be given with the align_your_steps",
            ),
            (
                "--guidance-interval 5 1",
                "guidance_interval is 5 to 1; it must be two sigmas, the lower one first",
            ),
            ("--guidance-interval nan 1", "guidance_interval"),
            ("--motion-bucket-id 5000", "motion_bucket_id is 5000"),
            ("--seed -1", "seed is -1"),
            ("--elevation 10", "elevation goes with sv3d_p"),
            ("--device tpu", "device tpu can't be used here"),
        ],
    )
    def test_what_can_not_be_done_is_said(self, capsys, picture, out, arguments, message):
        size = () if "width" in arguments or "height" in arguments else ("--width", "64", "--height", "64")
        frames = () if "frames" in arguments else ("--frames", "2")
        command = ("animate", picture, "--output", out / "a.mp4", *size, *frames, *arguments.split())
        assert message in refusal_of(capsys, *command)
        assert not list(out.iterdir())

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("--frames 1.5", "--frames: '1.5' is no whole number"),
            ("--width wide", "--width: 'wide' is no whole number"),
            ("--fps", "--fps: expected one argument"),
            ("--fps 24000/0", "--fps: '24000/0' is no number such as 6, 29.97 or 24000/1001"),
            ("--azimuths 1,x", "--azimuths: '1,x' is no list of numbers such as 10,20,30"),
            ("--azimuths -10,20", "one that begins with a minus is given with =, as in --azimuths=-10"),
            ("--dtype int4", "--dtype: 'int4' is none of float32, float16, bfloat16"),
            ("--linear-dtype floot8", "is none of float8; did you mean float8?"),
            ("--unknown", "--unknown is no option; --help lists them."),
            ("--unknown=5", "--unknown is no option; --help lists them."),
            ("--seeed 5", "--seeed is no option; did you mean --seed?"),
            ("--sampler", "--sampler: expected one argument"),
        ],
    )
    def test_what_can_not_be_read_is_said(self, capsys, picture, out, arguments, message):
        said = refusal_of(capsys, "animate", picture, "--output", out / "a.mp4", *arguments.split())
        assert message in said
        assert not list(out.iterdir())

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("a.avi", "unknown extension .avi"),
            ("missing/a.mp4", "does not exist"),
        ],
    )
    def test_output_that_can_not_be_written(self, capsys, picture, out, name, message):
        assert message in refusal_of(capsys, "animate", picture, "--output", out / name, *QUICK)
        assert not list(out.iterdir())

    def test_no_file_is_read_and_written_or_written_twice(self, capsys, picture, out, svd_file):
        before = svd_file.read_bytes()
        for arguments in (
            ("--output", picture),
            ("--output", out / "a.png", "--output", out / ".." / "out" / "a.png"),
            ("--checkpoint", svd_file, "--save-latents", svd_file),
            ("--output", f"{out / 'l.safetensors'}/", "--save-latents", out / "l.safetensors"),
        ):
            said = refusal_of(capsys, "animate", picture, *arguments, *QUICK)
            assert "is read or written already; give every file a name of its own" in said
        assert svd_file.read_bytes() == before
        assert not list(out.iterdir())

    def test_options_that_latents_have_settled_are_refused(self, capsys, picture, out):
        saved = out / "l.safetensors"
        assert main(["animate", str(picture), "--save-latents", str(saved), *QUICK]) == OK
        capsys.readouterr()
        decode = ("animate", "--decode-latents", saved, "--output", out / "a.mp4")
        assert "--frames, steps can't be given with" in refusal_of(
            capsys, *decode, "--frames", 3, "--steps", 2
        )
        assert "fps is nan" in refusal_of(capsys, *decode, "--fps", "nan")

    def test_nothing_to_do_is_said(self, capsys, picture, out):
        assert "give the IMAGE to animate" in refusal_of(capsys, "animate", "--output", out / "a.mp4")
        both = ("--decode-latents", "x.safetensors", "--output", out / "a.mp4")
        assert "and not both" in refusal_of(capsys, "animate", picture, *both)
        assert "and not both" in refusal_of(capsys, "animate")
        again = ("--decode-latents", "x.safetensors", "--save-latents", out / "y.safetensors")
        assert "--save-latents goes with an IMAGE" in refusal_of(capsys, "animate", *again)

    def test_latents_that_are_none(self, capsys, picture, out, svd_file):
        command = ("animate", "--decode-latents", svd_file, "--output", out / "a.mp4")
        said = refusal_of(capsys, *command)
        assert "holds no latents of Stillmotion" in said and "--save-latents" in said
        assert "are saved as .safetensors" in refusal_of(
            capsys, "animate", picture, "--save-latents", out / "l.pt"
        )

    def test_nan_in_latents_stops_with_an_explanation(self, capsys, out, tmp_path):
        save_file({"latents": torch.full((2, 4, 8, 8), torch.nan)}, tmp_path / "l.safetensors")
        command = ("animate", "--decode-latents", tmp_path / "l.safetensors", "--output", out / "a.mp4")
        assert "NaN or infinity in the latents to decode" in refusal_of(capsys, *command)
        assert not list(out.iterdir())


class TestLimits:
    def test_a_budget_changes_nothing_in_the_picture(self, picture, out, tmp_path):
        plain, tight = out / "a", out / "b"
        budget = ["--memory-budget", "125MB", "--scratch", str(tmp_path)]
        assert main(["animate", str(picture), "--output", str(plain), *QUICK]) == OK
        assert main(["animate", str(picture), "--output", str(tight), *QUICK, *budget]) == OK
        for frame in sorted(plain.iterdir()):
            pixels = (np.asarray(Image.open(path)).astype(int) for path in (frame, tight / frame.name))
            assert np.abs(np.subtract(*pixels)).max() <= 1

    def test_a_budget_that_is_too_small_is_said_before_sampling(self, capsys, picture, out, tmp_path):
        command = ("animate", picture, "--output", out / "a.mp4", "--steps", "1000", "--memory-budget")
        said = refusal_of(capsys, *command, "1MB")
        assert "the memory budget is" in said and "needs at least" in said
        assert "'much' is no size; give one such as 6GB" in refusal_of(capsys, *command, "much")
        assert not list(out.iterdir())

    def test_a_scratch_folder_that_is_not_there_is_said(self, capsys, picture, out, tmp_path):
        scratch = ("--scratch", tmp_path / "none")
        said = refusal_of(capsys, "animate", picture, "--output", out / "a.mp4", *QUICK, *scratch)
        assert f"--scratch {tmp_path / 'none'} is no folder; name one that is there" in said
        assert not list(out.iterdir())

    def test_too_little_memory_is_a_warning_before_starting(self, capsys, monkeypatch, picture, out):
        monkeypatch.setattr(memory, "available", lambda device: 1)
        assert main(["animate", str(picture), "--output", str(out / "a.png"), *QUICK]) == OK
        said = capsys.readouterr().err
        assert re.search(r"warning: this clip needs about 0\.\d GiB of memory and 0\.0 GiB are free", said)
        assert "--save-latents" in said

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
            RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
            torch.OutOfMemoryError("CUDA out of memory"),
        ],
    )
    def test_memory_running_out_is_said(self, capsys, monkeypatch, picture, out, error):
        def fail(*arguments):
            raise error

        monkeypatch.setattr(pipeline.Pipeline, "sample_run", fail)
        assert "not enough memory" in refusal_of(
            capsys, "animate", picture, "--output", out / "a.mp4", *QUICK
        )
        assert not list(out.iterdir())

    def test_other_errors_of_torch_are_not_hidden(self, monkeypatch, picture, out):
        def fail(*arguments):
            raise RuntimeError("a defect of ours")

        monkeypatch.setattr(pipeline.Pipeline, "sample_run", fail)
        with pytest.raises(RuntimeError, match="a defect of ours"):
            main(["animate", str(picture), "--output", str(out / "a.mp4"), *QUICK])

    @pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send to another process on Windows")
    def test_ctrl_c_stops_cleanly(self, picture, out):
        command = [sys.executable, "-m", "stillmotion", "animate", picture, "--output", out / "a.mp4"]
        # A shell that runs the tests in the background has them, and so this process, ignore the signal.
        listen = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        process = subprocess.Popen(
            [*command, "--steps", "1000"], stderr=subprocess.PIPE, text=True, preexec_fn=listen
        )
        try:
            process.stderr.readline()  # the notice of the built-in model: it has begun
            time.sleep(2)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == INTERRUPTED
        assert said.strip() == "stopped; no half-written file is left."
        assert not list(out.iterdir())


class TestInspect:
    def test_says_what_a_file_is(self, capsys, svd_file):
        assert main(["inspect", str(svd_file)]) == OK
        said = capsys.readouterr().out
        assert "svd_xt: 25 frames" in said
        assert "float32" in said

    def test_says_what_a_clip_needs(self, capsys, svd_file):
        assert main(["inspect", str(svd_file), "--for", "64x64x3"]) == OK
        assert "clip         3 frames of 64×64" in capsys.readouterr().out
        assert "width" in refusal_of(capsys, "inspect", svd_file, "--for", "65x64x3")

    def test_says_what_a_lora_finds(self, capsys, svd_file, lora_file):
        assert main(["inspect", str(svd_file), "--lora", str(lora_file)]) == OK
        said = capsys.readouterr().out
        assert "LoRA         style.safetensors: all 2 modules found their layer." in said

    def test_says_what_is_missing(self, capsys, without):
        key = "model.diffusion_model.time_embed.0.weight"
        assert main(["inspect", str(without(key))]) == NOT_WHOLE
        assert key in capsys.readouterr().out

    def test_refuses_what_is_none(self, capsys, tmp_path):
        assert "there is no such file" in refusal_of(capsys, "inspect", tmp_path / "x.safetensors")
