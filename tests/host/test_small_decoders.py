"""Small decoders of previews in the host: its own on equal tensors, choice of files, bounds, and failures."""

from pathlib import Path

import pytest

from support import in_host

SCRIPT = """
import io, logging, pathlib, tempfile
from types import SimpleNamespace

folder = pathlib.Path(tempfile.mkdtemp())
import comfy.latent_formats, comfy.utils, folder_paths, latent_preview
from comfy.cli_args import LatentPreviewMethod, args
from comfy.taesd.taesd import TAESD
from pack.nodes.host import moving, previews
from pack.svd_model.checkpoint.small_decoders import open_small_decoder
from pack.svd_model.networks.taesd import SmallDecoder, SmallDecoderParams

folder_paths.folder_names_and_paths["vae_approx"] = ([str(folder)], {".pth", ".safetensors"})
log = io.StringIO()
logging.getLogger().addHandler(logging.StreamHandler(log))

def decoder(channels, memory=False):
    torch.manual_seed(0)
    network = SmallDecoder(SmallDecoderParams(channels, memory=memory), device="cpu").requires_grad_(False)
    for weight in network.parameters():
        weight.normal_(std=weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.05)
    return network.eval()

def write(name, network):
    torch.save(network.state_dict(), folder / name)

def chosen(*names):
    for file in folder.iterdir():
        file.unlink()
    for name in names:
        write(name, decoder(4, memory="taesdv" in name))
    folder_paths.filename_list_cache.clear()
    return [pathlib.Path(path).name for path in previews.decoder_paths()]

latents = 2 * torch.randn(3, 4, 6, 5)
write("taesd_decoder.pth", decoder(64))
theirs = TAESD(None, str(folder / "taesd_decoder.pth"))
part = open_small_decoder(folder / "taesd_decoder.pth")
with torch.no_grad():
    expected = theirs.decode(latents) / 2 + 0.5
    found = part.load(dtype=torch.float32, device="cpu")(latents)
result = {"host": (found - expected).abs().max().item(), "size": expected.abs().max().item()}

result["chosen"] = chosen(
    "taesd_decoder.pth", "TAESDV.safetensors", "taesd.pth", "taesdxl_decoder.pth", "taesd3_decoder.pth",
    "taesd_encoder.pth", "taesd-xl.pth", "taef1_decoder.pth", "taesdv_small.pth",
)

# Of two videos the first is shown.
videos = torch.randn(4, 4, 8, 8)
result["first video"] = torch.equal(previews.frames_of_sheet(videos, 2)[0], videos[:2])
result["strides"] = [
    [len(shown), stride] for shown, stride in (
        previews.frames_of_sheet(torch.empty(t, 4, 1, 1), t) for t in (1, 14, 36, 37, 72, 73, 300)
    )
]

result["reduced"] = [
    list(previews.reduced(torch.empty(t, 4, h, w, device="meta")).shape)
    for t, h, w in (
        (25, 72, 128), (1, 8, 16), (1, 512, 512), (128, 64, 64), (300, 72, 128), (70000, 9, 9), (5, 1, 1)
    )
]
result["sheets"] = [
    [*previews.decoded_sheet(decoder(2), torch.zeros(t, 4, h, w)).shape[1::-1]]
    for t, h, w in ((25, 72, 128), (1, 3, 200), (7, 200, 3), (30, 8, 8))
]

# A decoder that fails in the middle of a run, whose every step is shown
moving.SHARE = float("inf")
shown = []
comfy.utils.set_progress_bar_global_hook(lambda value, total, picture, node_id=None: shown.append(picture))
model = SimpleNamespace(
    load_device=torch.device("cpu"), model=SimpleNamespace(latent_format=comfy.latent_formats.SD15())
)
args.preview_method = LatentPreviewMethod.TAESD
x0 = torch.randn(5, 4, 8, 16)
def run(steps=3, fail_at=None):
    shown.clear()
    callback = moving.preview_callback(model, steps, len(x0))
    forward, calls = SmallDecoder.forward, []
    def failing(self, z, memory=None):
        calls.append(1)
        if fail_at is not None and len(calls) > fail_at:
            raise torch.OutOfMemoryError("no memory left")
        return forward(self, z, memory)
    SmallDecoder.forward = failing
    for step in range(steps):
        callback(step, x0, x0, steps)
    SmallDecoder.forward = forward
    return [None if picture is None else picture[1].size for picture in shown]

chosen("taesd_decoder.pth")
result["whole"] = run()
result["failing"] = run(fail_at=1)
result["failing again"] = run(fail_at=0)
result["lines"] = [line for line in log.getvalue().splitlines() if "colours" in line]
args.preview_method = LatentPreviewMethod.NoPreviews
result["off"] = run()
args.preview_method = LatentPreviewMethod.Latent2RGB
result["colours"] = run()
args.preview_method = LatentPreviewMethod.TAESD
model.model.latent_format.taesd_decoder_name = None
result["other latents"] = run()
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def measured():
    return in_host.result_of(SCRIPT)


def test_taesd_is_the_hosts(measured):
    assert measured["host"] <= 1e-5 * measured["size"]


def test_taesdv_is_preferred_and_decoders_of_other_latents_are_left_out(measured):
    names = [Path(name).stem.lower() for name in measured["chosen"]]
    assert names == ["taesdv", "taesdv_small", "taesd_decoder", "taesd"]


def test_the_first_video_of_a_batch_is_shown_and_of_a_long_one_at_most_36_frames(measured):
    assert measured["first video"]
    assert measured["strides"] == [[1, 1], [14, 1], [36, 1], [19, 2], [36, 2], [25, 3], [34, 9]]


def test_the_work_of_a_preview_is_bounded_and_all_frames_are_in_it(measured):
    """At least a third of each side; no frame above 4,096 positions of latents, no clip above 32,768."""
    assert measured["reduced"] == [
        [25, 4, 24, 43],
        [1, 4, 3, 6],
        [1, 4, 64, 64],
        [128, 4, 16, 16],
        [300, 4, 8, 13],
        [70000, 4, 1, 1],
        [5, 4, 1, 1],
    ]


def test_a_sheet_is_less_than_twice_as_large_as_the_hosts_previews(measured):
    """Which the host shrinks to its own size: 25 frames are five times five of 115×64."""
    assert all(max(size) < 2 * 512 for size in measured["sheets"])
    assert measured["sheets"][0] == [575, 320]


def test_a_decoder_that_fails_leaves_the_colours_of_the_latents(measured):
    decoded, coloured = [144, 48], [48, 16]
    assert measured["whole"] == [decoded] * 3
    assert measured["failing"] == [decoded, coloured, coloured]
    assert measured["failing again"] == [coloured] * 3
    assert len(measured["lines"]) == 1
    assert "no memory left" in measured["lines"][0]


def test_without_a_small_decoder_previews_are_the_hosts(measured):
    assert all(picture is None for picture in measured["off"])
    assert measured["colours"] == measured["other latents"] == [[48, 16]] * 3
