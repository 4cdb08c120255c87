"""What a store has: numbers of rows by their state, and a page of its clips."""

import html
import json
import os
from collections import Counter
from collections.abc import Iterator

from ..files.formats import ENCODINGS
from .clips import Common
from .digests import Digests, is_digest
from .outcomes import ASIDE, DUPLICATE, MOST_REASONS, STATES, WELL, printable
from .places import is_address
from .record import JOB, clip_name, lines
from .stores import PARTS, Store, StoreError, clean, is_part, open_store

INDEX = "index.html"
MOST_SHOWN = 1_000
"""Clips of a page; each video is a player, of which browsers bound the number."""

_STYLE = """body{font:15px system-ui,sans-serif;margin:24px;background:#fff;color:#222}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(220px,1fr));gap:16px}
figure{margin:0}video,img{width:100%;background:#eee}figcaption{font-size:12px;overflow-wrap:anywhere}
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}"""


def job_of(store: Store) -> dict | None:
    """What job.json says; None where there is no batch."""
    try:
        content = json.loads(store.read(JOB))
    except (FileNotFoundError, ValueError):
        return None
    ours = isinstance(content, dict) and "stillmotion" in content and content.get("extension") in ENCODINGS
    return content if ours else None


def prepare(store: Store, common: Common, **others: object) -> None:
    """Says in a store what its clips depend on, in job.json, and deletes what ended runs left unfinished.

    It names no folders, which are private. others: what else job.json says.
    """
    about = {
        "stillmotion": common.version,
        "extension": common.extension,
        "fingerprint": json.loads(common.fingerprint),
        **others,
    }
    store.put(JOB, json.dumps(about, indent=1, sort_keys=True).encode())
    clean(store)


def own_store(name: str | None, option: str, extension: str | None = None) -> Store:
    """The store that an option names; raises ValueError for a folder with other files in it.

    extension: of clips that are to be written, which the store's own must have.
    """
    if name is None:
        raise ValueError(f"{option} is missing: name the folder or the address of clips and records.")
    store = open_store(name, option)
    try:
        # Looked at before job.json is: shards begin together in one folder, and what the first one made by
        # then would be foreign to the next.
        others = not is_address(name) and os.path.isdir(name) and _others(name)
        about = job_of(store)
    except (StoreError, OSError) as error:
        raise ValueError(f"{option} {name} can't be read: {error}") from error
    if others and about is None:
        raise ValueError(f"{option} {name} holds files that are no batch's; name a new or an empty folder.")
    if about is not None and extension not in (None, about["extension"]):
        raise ValueError(
            f"{option} {name} has clips in {about['extension']}, new ones are in {extension}; name another."
        )
    return store


def _others(folder: str) -> set[str]:
    """What is in a folder but for a batch that just begins, or was ended then: its job.json in parts."""
    found, parts = set(os.listdir(folder)), os.path.join(folder, PARTS)
    if os.path.isdir(parts) and all(map(is_part, os.listdir(parts))):
        found.discard(PARTS)
    return found


def summary(store: Store) -> Iterator[str]:
    """Lines that say what the record of a store has; each row counts once, also where it was tried again."""
    done, states, reasons = Digests(), Counter(), []
    for content in lines(store):
        if content["state"] in WELL and content["digest"] not in done:
            done.add(content["digest"])
            states[content["state"]] += 1
    aside = Digests()
    for content in lines(store):
        digest = content["digest"]
        if content["state"] in ASIDE and digest not in done and digest not in aside:
            aside.add(digest)
            states[content["state"]] += 1
            reasons += [content.get("reason", "")] * (len(reasons) < MOST_REASONS)
    yield f"rows         {sum(states.values()):,}"
    for state in STATES:
        if states[state]:
            yield f"{state:<12} {states[state]:,}"
    marks = store.names("attempts")
    if marks:
        yield f"under way    {len(marks):,}, or cut off"
    yield from (f"  {printable(str(reason))}" for reason in reasons)


def write_index(store: Store, extension: str) -> None:
    """Writes a page of the clips of a store, in one file beside them; of many it has the first ones."""
    store.put(INDEX, _index_page(store, extension).encode("utf-8", "replace"))


def _index_page(store: Store, extension: str) -> str:
    seen, figures, further = Digests(), [], 0
    for content in lines(store):
        key = content.get("key")
        if content["state"] not in WELL or content["state"] == DUPLICATE or not is_digest(key) or key in seen:
            continue
        seen.add(key)
        if len(figures) < MOST_SHOWN:
            figures.append(_figure(clip_name(key, extension), str(content.get("id", ""))))
        else:
            further += 1
    more = f"<p>… and {further:,} more.</p>" * bool(further)
    policy = "default-src 'none'; media-src 'self' file:; img-src 'self' file:; style-src 'unsafe-inline'"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{len(seen):,} clips</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{_STYLE}</style>\n'
        f"<h1>{len(seen):,} clips</h1><main>\n{''.join(figures)}</main>{more}</html>\n"
    )


def _figure(name: str, identity: str) -> str:
    if name.endswith((".mp4", ".webm")):
        shown = f'<video src="{name}" controls loop muted preload="metadata" loading="lazy"></video>'
    else:
        shown = f'<img src="{name}" loading="lazy" alt="">'
    return f"<figure>{shown}<figcaption>{html.escape(identity)}</figcaption></figure>\n"
