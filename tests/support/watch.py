"""Queues a graph and prints the host's websocket messages about it: python watch.py URL METHOD < GRAPH.

METHOD is the method of previews; "default" leaves the server's. Further words: "metadata" for a client that
takes previews with their node, "page" to send a workflow along as the host's page does, "off" to send one
that turns moving previews off. Run by the host's interpreter, which has aiohttp. Prints a line of JSON a
message: {"type", "data"}, and for a preview {"type": "preview", "data": picture in base64, "about": metadata
or null}. Last comes {"type": "others", "data": types of the messages to another client}.
"""

import asyncio
import base64
import json
import struct
import sys

import aiohttp

# A message is the event and, for a picture, the format or the length of its metadata, four bytes each.
PREVIEW_IMAGE, TEXT, WITH_METADATA = 1, 3, 4
OVER = ("execution_success", "execution_error")


def preview(message: bytes) -> dict | None:
    """What is printed of a message in bytes: of pictures alone."""
    event, number = struct.unpack(">II", message[:8])
    if event == TEXT:  # shown on a node
        return None
    assert event in (PREVIEW_IMAGE, WITH_METADATA), event
    about, start = None, 8
    if event == WITH_METADATA:
        about, start = json.loads(message[8 : 8 + number]), 8 + number
    return {"type": "preview", "data": base64.b64encode(message[start:]).decode(), "about": about}


def extra_data(method: str, words: list[str]) -> dict:
    """What a client sends beside the graph."""
    extra = {"stillmotion": {"moving_preview": False}} if "off" in words else {}
    workflow = {"extra_pnginfo": {"workflow": {"extra": extra}}} if {"page", "off"} & set(words) else {}
    return workflow | ({} if method == "default" else {"preview_method": method})


async def watch(url: str, method: str, words: list[str], graph: dict) -> None:
    """Prints the messages to the client that queues the graph."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/ws?clientId=other") as other,
        session.ws_connect(f"{url}/ws?clientId=watch") as socket,
    ):
        if "metadata" in words:
            await socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
        prompt = {"prompt": graph, "client_id": "watch", "extra_data": extra_data(method, words)}
        await session.post(f"{url}/prompt", json=prompt)
        async for message in socket:
            if message.type == aiohttp.WSMsgType.BINARY:
                shown = preview(message.data)
                if shown is not None:
                    sys.stdout.write(json.dumps(shown) + "\n")
                continue
            sys.stdout.write(message.data + "\n")
            if json.loads(message.data)["type"] in OVER:
                break
        others = []
        while True:
            try:
                message = await other.receive(timeout=0.5)
            except asyncio.TimeoutError:
                break
            if message.type == aiohttp.WSMsgType.BINARY:
                others.append("text" if preview(message.data) is None else "preview")
            else:
                others.append(json.loads(message.data)["type"])
        sys.stdout.write(json.dumps({"type": "others", "data": others}) + "\n")


asyncio.run(watch(sys.argv[1], sys.argv[2], sys.argv[3:], json.load(sys.stdin)))
