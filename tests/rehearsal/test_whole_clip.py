"""A whole clip of full size on small cards that are not there: scripts/whole_clip.py."""

import json
import subprocess
from pathlib import Path

import pytest

from support import host, rehearsing

SCRIPT = Path(__file__).parent / "scripts" / "whole_clip.py"


def clip_on(card: str) -> dict:
    """The report on a clip of 25 frames of 1024×576 in float16; it took no more than the card's memory."""
    command = [rehearsing.interpreter(), SCRIPT, host.ROOT, "float16", card]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    (report,) = json.loads(run.stdout.splitlines()[-1])
    assert report["peak"] <= report["card"]
    assert report["waits"] == []
    return report


def test_a_clip_fits_a_card_of_6_gb():
    """Nothing but the UNet is there while sampling."""
    assert clip_on("6")["networks"] == 0


@pytest.mark.long
@pytest.mark.parametrize("card", ["3", "4"])
def test_on_smaller_cards_the_weights_stream(card):
    report = clip_on(card)
    assert report["streams"]
    assert report["networks"] == 0


@pytest.mark.long
def test_on_a_large_card_all_networks_stay():
    report = clip_on("24")
    assert not report["streams"]
    assert report["networks"] > 1.3e9
