"""The page of options, written from the parser: python -m stillmotion.headless.option_table FILE"""

import argparse
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from ..clips.fields import Flag
from ..clips.motion_amount import AMOUNTS
from ..clips.settings import FIELDS
from .options import parsers

_HEAD = """# Options of animate, batch and serve

`python -m stillmotion animate` takes these. What is not given follows the checkpoint.
"""

_OF_BATCH = """# Options of batch

`python -m stillmotion batch` takes these, and from above settings, LoRAs, parts and the machine's options.
"""

_OF_SERVE = """# Options of serve

`python -m stillmotion serve` takes these, and from above settings (for requests that name none), LoRAs, parts
and the machine's options.
"""


_AMOUNTS = """## Amounts of motion

What the words of `--motion-amount` stand for. The built-in model, and schedules with levels of their own,
keep their highest one.

| word | motion bucket | highest noise level |
|---|---|---|"""


def amounts() -> list[str]:
    """Lines of a Markdown table with the words for how much moves."""
    levels = {
        name: "the schedule's" if a.sigma_max is None else f"{a.sigma_max:g}" for name, a in AMOUNTS.items()
    }
    return [f"| `{name}` | {a.motion_bucket_id} | {levels[name]} |" for name, a in AMOUNTS.items()]


def options_page() -> str:
    """Markdown with a table for each group of options of animate, then of batch's and serve's own."""
    animate, batch, serve = (parsers("")[name] for name in ("animate", "batch", "serve"))
    above = {name for action in animate._actions for name in action.option_strings}
    of_animate = [_HEAD, *_sections(animate, ()), _AMOUNTS, *amounts(), ""]
    of_batch = [_OF_BATCH, *_sections(batch, above)]
    return "\n".join([*of_animate, *of_batch, _OF_SERVE, *_sections(serve, above)])


def _sections(parser: argparse.ArgumentParser, above: Collection[str]) -> Iterator[str]:
    """Headings and tables of a command's options, without those that stand above, by their names."""
    for group in parser._action_groups:  # argparse has no other way to ask
        options = [action for action in group._group_actions if _is_option(action)]
        rows = [_row(action) for action in options if action.option_strings[0] not in above]
        if rows:
            title = "files" if group.title == "options" else group.title
            yield f"## {title[0].upper()}{title[1:]}\n"
            yield "| option | what it does | accepted | default |\n|---|---|---|---|"
            yield "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"


def _is_option(action: argparse.Action) -> bool:
    """Whether an action is an option other than --help."""
    return bool(action.option_strings) and action.dest != "help"


def _row(action: argparse.Action) -> tuple[str, str, str, str]:
    """Cells of an option: name and value, words, and for a setting its accepted values and default."""
    metavar = " ".join(action.metavar) if isinstance(action.metavar, tuple) else action.metavar
    value = metavar or action.dest.upper()
    name = f"`{action.option_strings[0]}{'' if action.nargs == 0 else ' ' + value}`"
    field = FIELDS.get(action.dest)
    if field is None or isinstance(field.kind, Flag):
        return name, action.help, "", ""
    return name, field.words, field.kind.accepted, field.shown_default


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(options_page(), encoding="utf-8")
