"""Options of engines: what goes together, and what is said where a package is missing."""

import subprocess
import sys
from argparse import Namespace

import pytest

from stillmotion.headless.batch.clips import within_share
from stillmotion.headless.batch.ray_data import Pool
from stillmotion.headless.commands.checkpoints import pipeline_of
from stillmotion.headless.commands.sharing import check_sharing, dtypes_of_workers, planned
from stillmotion.headless.options import parse

ABSENT = ("ray", "fsspec", "pyarrow", "starlette")


def options(*words) -> Namespace:
    return parse(["batch", "in", "--out", "out", *words], "0", None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--workers", "2:4"), "--workers 2:4 goes with --engine ray"),
        (("--gpus-per-worker", "0.5"), "--gpus-per-worker goes with --engine ray"),
        (("--engine", "ray", "--device", "mps"), "can't ask for mps"),
        (("--engine", "ray", "--device", "cpu", "--gpus-per-worker", "1"), "exclude each other"),
    ],
)
def test_options_that_do_not_go_together(words, message):
    with pytest.raises(ValueError, match=message):
        check_sharing(options(*words))


def test_options_that_go_together():
    for words in (
        (),
        ("--workers", "2"),
        ("--engine", "ray", "--workers", "2:4", "--gpus-per-worker", "0.5"),
    ):
        check_sharing(options(*words))
    assert options("--workers", "2").workers == (2, 2) and options("--workers", "2:4").workers == (2, 4)


def test_a_part_of_a_gpu_is_a_budget_of_its_memory():
    half = options("--engine", "ray", "--gpus-per-worker", "0.5")
    assert 0.4 * 24e9 < within_share(half, 24 * 10**9).memory_budget < 0.5 * 24e9
    assert within_share(options(), 24 * 10**9).memory_budget is None
    own = options("--engine", "ray", "--gpus-per-worker", "0.5", "--memory-budget", "3GB")
    assert within_share(own, 24 * 10**9).memory_budget == 3 * 10**9


def test_who_plans_needs_neither_the_device_nor_the_types_of_the_workers():
    chosen = options("--engine", "ray", "--device", "cuda", "--linear-dtype", "float8")
    assert pipeline_of(planned(chosen), lambda *_: None, planned(chosen).device).device.type == "cpu"
    found = {"dtype": "float16", "decode_dtype": "float32", "linear_dtype": "float8"}
    assert dtypes_of_workers(Pool(1, 1, 0.5, 1), chosen) == found
    assert planned(options()).device is None


def test_everything_is_imported_without_the_optional_packages(tmp_path):
    (tmp_path / "a.png").touch()
    code = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r})); "
    code += "import stillmotion.headless; from stillmotion.headless.command_line import main; "
    code += (
        f"sys.exit(main(['batch', {str(tmp_path)!r}, '--out', {str(tmp_path / 'out')!r}, '--engine', 'ray']))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and "--engine ray needs the package ray: pip install" in result.stderr
    assert "Traceback" not in result.stderr and not (tmp_path / "out").exists()
