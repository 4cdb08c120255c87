"""Every default, range, list and number that pages, tooltips, help, README and docs/ name is the code's."""

import argparse
import ast
import re
import shlex
from dataclasses import astuple
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from stillmotion import builtin_model
from stillmotion.clips import presets
from stillmotion.clips.canvas import FITS
from stillmotion.clips.mistakes import Mistakes
from stillmotion.clips.settings import FIELDS
from stillmotion.headless import Settings
from stillmotion.headless.files.videos import EXTENSIONS
from stillmotion.headless.options import parse, parsers
from stillmotion.samplers import guidance, schedules
from stillmotion.samplers.schedules import SCHEDULES
from stillmotion.samplers.solvers import CHURNING, SOLVERS
from stillmotion.svd_model import layerwise
from stillmotion.svd_model.checkpoint import variants
from stillmotion.svd_model.layerwise import DecodePlanner, in_units
from stillmotion.svd_model.networks.vae import VAEParams, VideoDecoder
from support.pages import PAGES, ROOT, SCHEMAS, page, schemas, table

DOCS = {
    path.name: path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
}
README, COMMAND_LINE = DOCS["README.md"], DOCS["command-line.md"]
TOOLTIPS = [port.options["tooltip"] for schema in SCHEMAS for port in [*schema.inputs, *schema.outputs]]
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGES.glob("*.md")} | DOCS
TEXTS["tooltips"] = "\n".join(TOOLTIPS)

OWN_WORDS = {"seed", "video", "memory_budget"}  # whose range the pages describe


def inputs_of(schema) -> dict[str, dict]:
    """The options of each input of a node."""
    return {port.id: port.options for port in schema.inputs}


@schemas
def test_pages_name_every_range(schema):
    rows = table(page(schema), "Inputs")
    for name, options in inputs_of(schema).items():
        if "min" not in options or name in OWN_WORDS:
            continue
        ranges = re.findall(r"(−?\d+(?:\.\d+)?) to (−?\d+(?:\.\d+)?)", rows[name][1])
        assert ranges, name
        bounds = [float(number.replace("−", "-")) for number in ranges[-1]]
        assert bounds == [options["min"], options["max"]], name


def quoted(row: list[str]) -> list[str]:
    """The words in backticks of an input's row, but for its default."""
    return re.findall("`([^`]+)`", row[1].partition(". Default")[0])


@schemas
def test_pages_name_every_option(schema):
    rows = table(page(schema), "Inputs")
    for name, options in inputs_of(schema).items():
        named = isinstance(options.get("options"), list)  # and not files that the host lists
        if named and name not in ("checkpoint", "sampler"):
            assert [word for word in quoted(rows[name]) if word not in rows] == options["options"], name
    if schema.node_id == "StillmotionSampler":  # the KSampler's are also the host's
        assert quoted(rows["sampler"]) == inputs_of(schema)["sampler"]["options"]


# What each checkpoint is sampled with

SVD, SVD_XT, SV3D = presets.SVD, presets.SVD_XT, presets.SV3D
LCM = presets.find_preset(variants.SVD_XT, sampler="lcm")
XT, SV3D_U = variants.SVD_XT, variants.SV3D_U
TINY = presets.find_preset(builtin_model.load().variant)


def scale(low: float, high: float) -> str:
    return f"{low:g} → {high:g}"


def guided(preset) -> str:
    return f"{preset.guidance} {scale(preset.min_guidance, preset.max_guidance)}"


def size(preset) -> str:
    return f"{preset.width}×{preset.height}"


def cells(text: str, start: str) -> list[str]:
    """The cells of the only table row that begins so."""
    rows = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    assert len(rows) == 1, (start, rows)
    return [cell.strip() for cell in rows[0].strip("|").split("|")]


@pytest.mark.parametrize(
    ("start", "preset"),
    [
        ("svd,", SVD),
        ("svd_xt,", SVD_XT),
        ("sv3d_u,", SV3D),
        ("motionctrl_svd", presets.MOTIONCTRL),
        ("stillmotion-tiny", TINY),
    ],
)
def test_load_checkpoint_says_what_to_set_later(start, preset):
    expected = [f"{preset.num_frames} of {size(preset)}", f"{guided(preset)}, {preset.steps}"]
    assert cells(TEXTS["StillmotionLoadCheckpoint.md"], start)[1:] == expected


@pytest.mark.parametrize(
    ("start", "preset"), [("svd, svd_xt and", SVD_XT), ("sv3d_u,", SV3D), ("stillmotion-tiny", TINY)]
)
def test_animate_says_what_it_does(start, preset):
    noise = f"{preset.noise_aug:f}".rstrip("0")
    sampling = f"euler, karras, {preset.steps} steps, guidance {guided(preset)}, noise {noise}"
    expected = [f"{preset.num_frames} of {size(preset)}", sampling]
    assert cells(TEXTS["StillmotionAnimate.md"], start)[1:] == expected


@pytest.mark.parametrize(
    ("start", "preset", "chosen"),
    [
        ("svd |", SVD, {}),
        ("svd_xt |", SVD_XT, {}),
        ("SV3D |", SV3D, {}),
        ("AnimateLCM-SVD |", SVD_XT, {"sampler": "lcm"}),
        ("svd or svd_xt, fast |", SVD_XT, {"schedule": "align_your_steps"}),
    ],
)
def test_ksampler_says_what_suits_each_checkpoint(start, preset, chosen):
    """In its tips: what the command line takes by default."""
    s = Settings(num_frames=preset.num_frames, **chosen).complete(SV3D_U if preset is SV3D else XT)
    scales = "the same" if "fast" in start else f"{s.guidance} {scale(s.min_guidance, s.max_guidance)}"
    expected = [scales, f"{s.schedule} {s.steps}, {s.sampler}"]
    assert cells(TEXTS["StillmotionKSampler.md"], start)[1:] == expected


def test_ksampler_says_whose_defaults_it_has():
    (schema,) = [schema for schema in SCHEMAS if schema.node_id == "StillmotionKSampler"]
    inputs = inputs_of(schema)
    defaults = [inputs[name]["default"] for name in ("min_guidance", "max_guidance", "steps")]
    assert defaults == [SVD_XT.min_guidance, SVD_XT.max_guidance, SVD_XT.steps]
    assert "defaults of guidance and steps are svd_xt's" in TEXTS["StillmotionKSampler.md"]


def test_guidance_says_what_suits_each_checkpoint():
    tip = f"- svd: {guided(SVD)}. svd_xt: {guided(SVD_XT)}. SV3D: {guided(SV3D)}.\n"
    assert tip in TEXTS["StillmotionGuidance.md"]


NUMBER = r"(\d+(?:\.\d+)?(?:e-\d+)?)"
COUNTS = rf"svd {NUMBER}, svd_xt {NUMBER}(?:[^.;\n]*?SV3D {NUMBER})?"


def everything_said() -> dict[str, str]:
    return TEXTS | {"help": "\n".join(action.help or "" for action in options().values())}


def options() -> dict[str, argparse.Action]:
    """The options of `animate` by their names."""
    actions = parsers("")["animate"]._actions
    return {name: action for action in actions for name in action.option_strings}


def understood(command: list[str]) -> dict[str, object]:
    """What a command line asks for, without mistakes."""
    mistakes = Mistakes()
    found = parse(command, "", mistakes)
    mistakes.raise_any()
    return vars(found)


def test_frames_and_steps_are_those_of_the_checkpoints():
    """Wherever "svd 25, svd_xt 30" and the like are said."""
    rows = zip(astuple(SVD), astuple(SVD_XT), astuple(SV3D), strict=True)
    usual = (presets.USUAL_FPS, presets.USUAL_MOTION)  # said without a checkpoint
    rows = [row for row in rows if isinstance(row[0], int | float) and row[0] not in usual]
    known = [tuple(f"{number:g}" for number in row) for row in rows]
    found = {name: re.findall(COUNTS, text) for name, text in everything_said().items()}
    assert len(found["help"]) == len(known) and len(found["tooltips"]) >= 2
    for name, triples in found.items():
        for triple in triples:
            assert any(triple in (one, (*one[:2], "")) for one in known), (name, triple)


def test_every_pair_of_scales_is_some_checkpoints():
    known = {scale(preset.min_guidance, preset.max_guidance) for preset in (SVD, SVD_XT, SV3D, LCM)}
    for name, text in everything_said().items():
        said = set(re.findall(r"(?:linear|triangle) (\d[\d.]* → \d[\d.]*\d|\d → \d)", text))
        assert said <= known, name


def test_the_built_in_model_is_said_to_be_what_it_is():
    size_of = f"{TINY.num_frames} frames of {size(TINY)}"
    (tooltip,) = re.findall(
        r"a first try, (\d+ frames of [\d×]+)", (ROOT / "nodes/loaders.py").read_text("utf-8")
    )
    assert tooltip == size_of and size_of in README and size_of in builtin_model.NOTICE
    millions = sum(torch.Size(shape).numel() for shape in builtin_model.load().file.shapes.values()) / 1e6
    assert f"{millions:.0f} million parameters" in TEXTS["StillmotionLoadCheckpoint.md"]


# The command line

OTHERS = {  # what a default is where the settings leave it to someone else
    "sigma_min": schedules.SIGMA_MIN,
    "sigma_max": schedules.SIGMA_MAX,
    "rho": schedules.RHO,
    "decode_dtype": "float32",
    "guidance_interval": "all",
}


def test_help_says_what_the_defaults_are():
    """Where it says a plain one."""
    defaults = vars(Settings().complete(XT)) | OTHERS
    seen = set()
    for name, action in options().items():
        said = re.search(r"\(default (?:svd [\d.]+, svd_xt )?([\w.]+\w|\d)", action.help or "")
        if said and defaults.get(action.dest) is not None:
            assert said[1] in (
                str(defaults[action.dest]),
                f"{defaults[action.dest]:g}" if said[1][0].isdigit() else "",
            ), name
            seen.add(action.dest)
    assert {
        "fps",
        "seed",
        "sampler",
        "schedule",
        "motion_bucket_id",
        "noise_aug",
        "rho",
        "feature_cache",
    } <= seen


def test_every_setting_has_an_option():
    assert set(FIELDS) <= {action.dest for action in options().values()}


def test_help_lists_what_is_accepted():
    listed = {"--sampler": SOLVERS, "--schedule": SCHEDULES, "--fit": FITS, "--output": EXTENSIONS}
    listed |= {"--guidance": guidance.SHAPES, "--churn": CHURNING}
    for name, accepted in listed.items():
        for choice in accepted:
            assert choice in options()[name].help, (name, choice)


def commands() -> list[list[str]]:
    found = re.findall(r"^python -m stillmotion (.*)$", "\n".join(DOCS.values()), re.M)
    return [shlex.split(command, comments=True) for command in dict.fromkeys(found)]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_commands_of_readme_and_docs_are_understood(command):
    understood(command)


def option_rows() -> list[list[str]]:
    """The rows of the table of options, whose first cell shows an option with a value."""
    return [
        [part.strip("`") for part in re.findall("`[^`]+`", line.split("|")[1])] + [line.split("|")[2]]
        for line in COMMAND_LINE.splitlines()
        if line.startswith("| `--")
    ]


@pytest.mark.parametrize("row", option_rows(), ids=lambda row: row[0])
def test_options_of_the_page_are_understood_and_taken(row):
    *shown_options, _ = row
    values = {"--output": " a.mp4", "--elevation": " 5", "--azimuths": " 1,2,3"}
    for option in shown_options:
        name, _, given = option.partition(" ")
        if not given or given == "OUT":
            option = name + values.get(name, " a.safetensors" if "latents" in name else "")
        parsed = understood(["animate", "p.png", *shlex.split(option)])
        chosen = {key: item for key, item in parsed.items() if key in FIELDS}
        camera = {"elevation", "azimuths"} & chosen.keys()
        variant = variants.SV3D_P if camera else variants.MOTIONCTRL_SVD if "camera" in chosen else XT
        Settings(**{"num_frames": 3 if camera else None, **chosen}).complete(variant)


def test_options_of_the_page_show_their_defaults():
    defaults = vars(Settings().complete(XT))
    parsed = {}
    for *shown_options, words in option_rows():
        if re.match(r" (or `|more for|frames a second)", words):
            parsed |= understood(["animate", "p.png", *shown_options[0].split()])
    chosen = {key: item for key, item in parsed.items() if key in FIELDS}
    assert len(chosen) == 7
    assert chosen == {key: defaults[key] for key in chosen}


@pytest.mark.parametrize(
    ("option", "accepted"),
    [("--sampler", SOLVERS), ("--schedule", SCHEDULES), ("--fit", FITS), ("--guidance", guidance.SHAPES)],
)
def test_the_page_of_options_lists_what_is_accepted(option, accepted):
    (line,) = [line for line in COMMAND_LINE.splitlines() if line.startswith(f"| `{option} ")]
    for choice in accepted:
        assert re.search(rf"[` ]{choice}`", line), choice


# Scripts of README and docs/


def scripts(page: str) -> list[ast.AST]:
    return [ast.parse(code) for code in re.findall(r"^```python\n(.*?)^```", DOCS[page], re.M | re.S)]


def node_calls() -> list[tuple[str, dict]]:
    """The nodes of the script for ComfyUI, with the inputs whose values are numbers."""
    found = [call for call in ast.walk(scripts("api.md")[1]) if isinstance(call, ast.Call)]
    found = [call for call in found if ast.unparse(call.func) == "node"]
    return [(call.args[0].value, {keyword.arg: keyword.value for keyword in call.keywords}) for call in found]


def test_the_script_for_comfyui_names_inputs_that_are_there_and_values_they_take():
    for schema in SCHEMAS:
        for kind, chosen in node_calls():
            if kind != schema.node_id:
                continue
            inputs = inputs_of(schema)
            assert chosen.keys() <= inputs.keys()
            for name, node in chosen.items():
                if "min" in inputs[name]:
                    assert inputs[name]["min"] <= ast.literal_eval(node) <= inputs[name]["max"]


def test_the_script_for_comfyui_takes_what_suits_svd_xt():
    given = {name: ast.unparse(node) for _, chosen in node_calls() for name, node in chosen.items()}
    names = ("width", "height", "steps", "min_guidance", "max_guidance")
    assert [float(given[name]) for name in names] == [getattr(SVD_XT, name) for name in names]
    assert int(given["frames"]) == SVD_XT.num_frames
    assert float(given["fps"]) == SVD_XT.fps


@pytest.mark.parametrize("page", ["README.md", "api.md"])
def test_the_script_in_python_names_settings_that_are_there(page):
    (call,) = [
        call
        for call in ast.walk(scripts(page)[0])
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Settings"
    ]
    Settings(**{keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}).complete(XT)


# Time and memory


def test_pages_say_where_guidance_takes_one_pass():
    ones, some = torch.ones(3), torch.tensor([1.0, 1.0, 1.5])

    def passes(*term) -> int:
        return len(guidance.branches_at(torch.tensor(5.0), [guidance.cfg(*term)]))

    assert passes(some) == 2
    assert passes(ones) == 1
    assert passes(some, (6.0, 7.0)) == 1
    assert "only once where all scales are 1" in TEXTS["StillmotionKSampler.md"]
    assert "Outside of the interval, and where all scales are 1, it is one" in TEXTS["StillmotionGuidance.md"]


def work(temporal: bool) -> int:
    """Floating-point operations of decoding 14 frames."""
    decoder = VideoDecoder(VAEParams(), temporal=temporal, post_quant_conv=False, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        decoder(torch.empty(14, 4, 72, 128, device="meta"), 14 if temporal else 1)
    return counter.get_total_flops()


def test_frame_wise_decoding_saves_the_work_that_is_said():
    assert work(temporal=False) / work(temporal=True) == pytest.approx(1 - 1 / 5, abs=0.02)
    assert "a fifth less work" in COMMAND_LINE and "a fifth less work" in TEXTS["StillmotionLoadVAE.md"]


CUDA, CPU = torch.device("cuda"), torch.device("cpu")
RELEASED = {"temporal": True, "dtype": torch.float32, "device": CUDA}
GB = 10**9


def planned(frames=25, height=72, width=128, budget=None) -> layerwise.LayerwisePlan:
    return DecodePlanner(VAEParams(), frames, height, width, **RELEASED).within(budget)


def smallest(**changes) -> int:
    return DecodePlanner(VAEParams(), 25, 72, 128, **(RELEASED | changes)).smallest().peak


def test_decodes_page_says_what_is_planned():
    rows = re.findall(
        r"^\| (none|[\d.]+ GB)[^|]*\| ([\d.]+) GB \| (nothing|[\d.]+ GB) \|$",
        TEXTS["StillmotionDecode.md"],
        re.M,
    )
    assert len(rows) == 8
    for budget, peak, elsewhere in rows:
        plan = planned(budget=None if budget == "none" else round(float(budget.split()[0]) * GB))
        assert f"{plan.peak / GB:.1f}" == peak, budget
        assert elsewhere == (f"{plan.spilled / GB:.1f} GB" if plan.spilled else "nothing"), budget


def test_the_smallest_budgets_are_enough():
    """What the pages call enough is, and a tenth of a GB less is not."""
    temporal, frame_wise = in_units(smallest()), in_units(smallest(temporal=False))
    assert f"{temporal}, about the smallest" in TEXTS["StillmotionDecode.md"]
    assert f"{temporal} is enough for 1024×576" in TEXTS["StillmotionDecode.md"]
    assert f"down to {temporal} for that size" in TEXTS["StillmotionAnimate.md"]
    assert cells(TEXTS["StillmotionLoadVAE.md"], "temporal")[1] == temporal
    assert cells(TEXTS["StillmotionLoadVAE.md"], "`frame-wise` | 1")[1].startswith(frame_wise)
    assert f"A frame-wise decoder takes {frame_wise.split()[0]} to" in TEXTS["StillmotionDecode.md"]
    weights = 4 * 63_579_183  # the temporal decoder's parameters in float32
    overhead = 96 * 2**20  # a process' own, see headless/engine/memory.py
    least = in_units(smallest(device=CPU) + weights + overhead)
    assert f"from {least}, weights included" in COMMAND_LINE and f"from {least}" in README
    assert f"besides the weights ({weights / GB:.2f} GB)" in TEXTS["StillmotionDecode.md"]


def test_other_sizes_take_about_the_share_that_is_said():
    whole = planned().peak
    assert planned(frames=14).peak / whole == pytest.approx(0.7, rel=0.03)
    assert 0.5 < planned(height=36, width=64).peak / whole < 0.6
    assert smallest(dtype=torch.bfloat16) / smallest() == pytest.approx(0.5, rel=0.02)


def test_a_files_sizes_are_those_of_its_tensors():
    keys = Path(ROOT / "tests" / "golden" / "keys_svd_xt.json").read_text()
    numbers = sum(torch.Size(shape).numel() for shape in ast.literal_eval(keys).values())
    text = f"svd_xt has {4 * numbers / GB:.1f} GB in float32 and {2 * numbers / GB:.1f} GB in float16"
    assert text in TEXTS["StillmotionLoadCheckpoint.md"]
