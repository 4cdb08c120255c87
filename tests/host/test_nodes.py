"""The nodes in a running ComfyUI: what they offer, what they make, and what they say of mistakes."""

import numpy as np
import pytest
from PIL import Image

from support import graphs, host
from support.graphs import node
from support.host_pictures import close, frames_of

IDS = ("LoadCheckpoint", "LoadParts", "LoadVAE", "ImageToVideo", "Orbit", "Guidance", "Schedule", "Sampler")
IDS += ("Camera", "Preset", "KSampler", "Decode", "Animate", "FeatureCache")
IDS += ("LoadControlNet", "LoadLoRA", "LoadExVideo", "Contrast", "Extend", "LongVideo")
IDS += ("SkipGuidance", "TemporalAttention", "LowPass")
IDS += ("Motion", "Drag", "CameraMove", "Hold", "CompareClips")


class TestServer:
    def test_it_starts_without_a_word_of_complaint_from_the_pack(self, server):
        assert server.complaints() == []

    @pytest.mark.parametrize("name", IDS)
    def test_every_node_is_offered_with_a_tooltip_on_every_input(self, server, name):
        info = server.get(f"/object_info/Stillmotion{name}")[f"Stillmotion{name}"]
        assert "SVD " in info["display_name"]
        assert info["category"].startswith("stillmotion")
        assert info["description"]
        assert info["search_aliases"]
        for group in ("required", "optional"):
            for key, (_, options) in info["input"].get(group, {}).items():
                assert options.get("tooltip"), key
        assert all(info["output_tooltips"])

    @pytest.mark.parametrize("name", IDS)
    def test_every_node_has_a_help_page(self, name):
        page = host.ROOT / "web" / "docs" / f"Stillmotion{name}.md"
        assert page.read_text(encoding="utf-8").startswith("# ")


class TestVideo:
    def test_frames_have_the_right_number_and_size(self, server, base):
        frames = frames_of(base, server.run(graphs.first_video(seed=11)))
        assert frames.shape == (4, 64, 128, 3)

    def test_the_same_inputs_come_from_the_cache_and_another_seed_does_not(self, server):
        assert host.succeeded(server.run(graphs.first_video(seed=21)))
        again = host.cached_nodes(server.run(graphs.first_video(seed=21)))
        assert {"load", "prepare", "sample", "decode"} <= again
        other = host.cached_nodes(server.run(graphs.first_video(seed=22)))
        assert "load" in other
        assert not {"prepare", "sample", "decode"} & other

    def test_two_pictures_give_two_videos_that_do_not_leak_into_each_other(self, server, base):
        """The first video is the same whatever the second picture is."""
        batches = []
        for second in ("rocket.jpg", "other.png"):
            Image.new("RGB", (96, 64), (20, 90, 200)).save(base / "input" / "other.png")
            size = {
                "image": ["image", 0],
                "upscale_method": "bilinear",
                "width": 128,
                "height": 64,
                "crop": "center",
            }
            graph = graphs.first_video(
                image2=node("LoadImage", image=second),
                scale=node("ImageScale", **size),
                scale2=node("ImageScale", **{**size, "image": ["image2", 0]}),
                batch=node("ImageBatch", image1=["scale", 0], image2=["scale2", 0]),
                prepare={"image": ["batch", 0], "noise_aug": 0.0},
            )
            batches.append(frames_of(base, server.run(graph)))
        same, other = batches
        assert same.shape == (8, 64, 128, 3)
        assert close(same[:4], other[:4])
        assert not close(same[4:], other[4:])

    def test_one_of_several_videos_alone(self, server, base):
        two = node("RepeatImageBatch", image=["image", 0], amount=2)
        more = {"two": two, "prepare": {"image": ["two", 0]}}
        both = frames_of(base, server.run(graphs.first_video(seed=91, **more)))
        for video, expected in ((1, both[:4]), (2, both[4:]), (0, both)):
            graph = graphs.first_video(seed=91, **more, decode={"video": video})
            assert close(frames_of(base, server.run(graph)), expected)
        assert not close(both[:4], both[4:])
        entry = server.run(graphs.first_video(seed=91, **more, decode={"video": 3}))
        assert "video is 3, the latent holds 2; give 0 for all of them, or 1 to 2" in host.error_of(entry)

    def test_animate_does_the_whole_way(self, server, base):
        """On a picture's own checkpoint; the tiny one is told its size by its metadata."""
        import json

        from safetensors import safe_open
        from safetensors.torch import save_file

        tiny = base / "models" / "checkpoints" / "tiny_svd.safetensors"
        with safe_open(tiny, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        sizes = {"num_frames": 3, "width": 64, "height": 64}
        sized = base / "models" / "checkpoints" / "sized.safetensors"
        save_file(tensors, sized, metadata={"stillmotion": json.dumps(sizes)})
        graph = {
            "image": node("LoadImage", image="rocket.jpg"),
            "animate": node(
                "StillmotionAnimate", checkpoint="sized.safetensors", image=["image", 0], motion=127, seed=0
            ),
            "save": node("SaveImage", images=["animate", 0], filename_prefix="animate"),
            "video": node(
                "SaveVideo", video=["animate", 1], filename_prefix="animate", format="mp4", codec="h264"
            ),
        }
        entry = server.run(graph)
        assert frames_of(base, entry).shape == (3, 64, 64, 3)
        assert entry["outputs"]["video"]["images"][0]["filename"].endswith(".mp4")

    def test_an_orbit(self, server, base):
        graph = graphs.first_video(
            load={"checkpoint": "tiny_sv3d_p.safetensors"},
            prepare={"width": 64, "height": 64, "noise_aug": 0.0},
            orbit=node(
                "StillmotionOrbit",
                positive=["prepare", 0],
                negative=["prepare", 1],
                elevation=20.0,
                azimuths="",
            ),
            sample={"positive": ["orbit", 0], "negative": ["orbit", 1], "shape": "triangle"},
        )
        flat = frames_of(base, server.run(graph))
        graph["orbit"]["inputs"]["elevation"] = -40.0
        low = frames_of(base, server.run(graph))
        assert flat.shape == (4, 64, 64, 3)
        assert not close(flat, low)

    @pytest.mark.parametrize(
        "sampler", ["dpmpp_2m", "stillmotion euler", "stillmotion heun", "stillmotion lcm"]
    )
    def test_samplers_of_the_host_and_ours(self, server, base, sampler):
        frames_of(base, server.run(graphs.first_video(sample={"sampler": sampler})))

    def test_our_euler_is_the_hosts(self, server, base):
        theirs = frames_of(base, server.run(graphs.first_video(seed=31)))
        ours = frames_of(
            base, server.run(graphs.first_video(seed=31, sample={"sampler": "stillmotion euler"}))
        )
        assert close(ours, theirs)

    def test_the_parts_in_cores_custom_sampler_make_what_the_ksampler_makes(self, server, base):
        whole = frames_of(base, server.run(graphs.first_video(seed=41)))
        graph = graphs.first_video(
            seed=41,
            guidance=node(
                "StillmotionGuidance",
                model=["load", 0],
                shape="linear",
                min_guidance=1.0,
                max_guidance=2.5,
                scales="",
                interval_low=0.0,
                interval_high=1e6,
            ),
            sigmas=node(
                "StillmotionSchedule", schedule="karras", steps=2, sigma_max=700.0, sigma_min=0.002, rho=7.0
            ),
            solver=node("StillmotionSampler", sampler="euler", churn=0.0),
            custom=node(
                "SamplerCustom",
                model=["guidance", 0],
                add_noise=True,
                noise_seed=41,
                cfg=8.0,
                positive=["prepare", 0],
                negative=["prepare", 1],
                sampler=["solver", 0],
                sigmas=["sigmas", 0],
                latent_image=["prepare", 2],
            ),
            decode={"latent": ["custom", 0]},
        )
        del graph["sample"]
        assert close(frames_of(base, server.run(graph)), whole)

    def test_a_preset_in_cores_custom_sampler_is_its_values_in_the_ksampler(self, server, base):
        chosen = {"sampler": "stillmotion lcm", "min_guidance": 1.0, "max_guidance": 1.2, "steps": 4}
        chosen["schedule"] = "animate_lcm"
        numbers = {"motion_bucket_id": 80, "fps": 7.0}
        expected = frames_of(base, server.run(graphs.first_video(seed=42, sample=chosen, prepare=numbers)))
        graph = graphs.first_video(
            seed=42,
            preset=node("StillmotionPreset", model=["load", 0], preset="AnimateLCM (4 steps)"),
            prepare={"motion_bucket_id": ["preset", 3], "fps": ["preset", 4]},
            custom=node(
                "SamplerCustom",
                model=["preset", 0],
                add_noise=True,
                noise_seed=42,
                cfg=8.0,
                positive=["prepare", 0],
                negative=["prepare", 1],
                sampler=["preset", 1],
                sigmas=["preset", 2],
                latent_image=["prepare", 2],
            ),
            decode={"latent": ["custom", 0]},
        )
        del graph["sample"]
        assert close(frames_of(base, server.run(graph)), expected)

    def test_a_preset_in_animate_is_its_values_in_the_ksampler(self, server, base):
        """The tiny checkpoint takes the 25 frames and the size of svd_xt, so both are set."""
        chosen = {"sampler": "stillmotion lcm", "min_guidance": 1.0, "max_guidance": 1.2, "steps": 4}
        chosen["schedule"] = "animate_lcm"
        numbers = {"motion_bucket_id": 80, "fps": 7.0}
        expected = frames_of(base, server.run(graphs.first_video(seed=43, sample=chosen, prepare=numbers)))
        graph = {
            "image": node("LoadImage", image="rocket.jpg"),
            "animate": node(
                "StillmotionAnimate",
                checkpoint="tiny_svd.safetensors",
                image=["image", 0],
                motion=127,
                seed=43,
                width=128,
                height=64,
                frames=4,
                preset="AnimateLCM (4 steps)",
            ),
            "save": node("SaveImage", images=["animate", 0], filename_prefix="animate"),
        }
        assert close(frames_of(base, server.run(graph)), expected)

    def test_cores_decode_of_our_vae_is_our_decode(self, server, base):
        ours = frames_of(base, server.run(graphs.first_video(seed=51)))
        for kind, more in (
            ("VAEDecode", {}),
            ("VAEDecodeTiled", {"tile_size": 64, "overlap": 0, "temporal_size": 8, "temporal_overlap": 4}),
        ):
            graph = graphs.first_video(seed=51)
            graph["decode"] = node(kind, samples=["sample", 0], vae=["load", 2], **more)
            assert close(frames_of(base, server.run(graph)), ours)

    def test_the_picture_does_not_depend_on_the_memory_budget(self, server, base):
        free = frames_of(base, server.run(graphs.first_video(seed=52)))
        tight = graphs.first_video(seed=52, decode={"memory_budget": 0.004})
        assert close(frames_of(base, server.run(tight)), free)

    def test_a_memory_budget_that_is_too_small_is_refused_naming_the_smallest(self, server):
        entry = server.run(graphs.first_video(seed=52, decode={"memory_budget": 0.001}))
        said = host.error_of(entry)
        assert "the memory budget is 1.0 MB, and decoding 4 frames of 128×64 needs at least" in said

    def test_decoding_in_bfloat16_is_near_float32(self, server, base):
        exact = frames_of(base, server.run(graphs.first_video(seed=53))).astype(int)
        near = frames_of(base, server.run(graphs.first_video(seed=53, decode={"precision": "bfloat16"})))
        assert 0 < np.abs(near - exact).max() < 16

    def test_frame_wise_decode_from_another_file(self, server, base):
        temporal = frames_of(base, server.run(graphs.first_video(seed=61)))
        loader = node(
            "StillmotionLoadVAE", checkpoint="tiny_svd_image_decoder.safetensors", decoder="frame-wise"
        )
        graph = graphs.first_video(seed=61, vae=loader, decode={"vae": ["vae", 0]})
        assert not close(frames_of(base, server.run(graph)), temporal)


class TestAgainstCoresNodes:
    def test_min_guidance_counts_where_max_is_1(self, server, base):
        """Core drops the unconditional pass at cfg 1, and with it the guidance of the other frames."""
        unguided = frames_of(
            base, server.run(graphs.first_video(seed=71, sample={"min_guidance": 1.0, "max_guidance": 1.0}))
        )
        falling = frames_of(
            base, server.run(graphs.first_video(seed=71, sample={"min_guidance": 3.0, "max_guidance": 1.0}))
        )
        assert not close(falling, unguided)

    def test_transparent_pictures_with_noise_work(self, server, base):
        Image.new("RGBA", (128, 64), (200, 30, 30, 128)).save(base / "input" / "glass.png")
        graph = graphs.first_video(image={"image": "glass.png"}, prepare={"noise_aug": 0.5})
        assert frames_of(base, server.run(graph)).shape == (4, 64, 128, 3)

    def test_a_size_that_does_not_fit_is_refused_in_words(self, server):
        answer = server.post(graphs.first_video(prepare={"width": 1000, "height": 570}))
        said = str(answer["node_errors"])
        assert "width is 1000; it must be a multiple of 64" in said
        assert "The nearest is 1024" in said
