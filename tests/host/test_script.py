"""The script of docs/api.md, in a real ComfyUI on a small checkpoint."""

import re

from support import host

SMALLER = {
    "http://127.0.0.1:8188": "{url}",
    "svd_xt.safetensors": "tiny_svd.safetensors",
    "photo.jpg": "rocket.jpg",
    "width=1024": "width=128",
    "height=576": "height=64",
    "frames=25": "frames=4",
    "steps=30": "steps=1",
}


def test_the_script_makes_a_video(server, base, capsys):
    page = (host.ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    (script,) = [code for code in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "urllib" in code]
    for text, smaller in SMALLER.items():
        assert text in script
        script = script.replace(text, smaller.format(url=server.url))
    exec(script, {})  # noqa: S102 (the page's own)
    said = capsys.readouterr().out
    assert said.startswith("success ")
    (name,) = re.findall(r"'filename': '([^']+\.mp4)'", said)
    assert list((base / "output").rglob(name))
