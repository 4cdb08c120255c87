"""Queues a graph and prints the host's websocket messages about it: python watch.py URL METHOD < GRAPH.

METHOD is the method of previews; "default" leaves the server's. Run by the host's interpreter, which has
aiohttp. Prints a line of JSON a message: {"type", "data"}, and for a preview without metadata
{"type": "preview", "data": picture in base64}.
"""

import asyncio
import base64
import json
import struct
import sys

import aiohttp

# A message is the event and, for a picture, the format, four bytes each, and then the contents.
PREVIEW_IMAGE, TEXT = 1, 3


async def watch(url: str, method: str, graph: dict) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/ws?clientId=watch") as socket:
        prompt = {"prompt": graph, "client_id": "watch", "extra_data": {"preview_method": method}}
        await session.post(f"{url}/prompt", json=prompt)
        async for message in socket:
            if message.type == aiohttp.WSMsgType.BINARY:
                event, _ = struct.unpack(">II", message.data[:8])
                if event == TEXT:  # shown on a node
                    continue
                assert event == PREVIEW_IMAGE, event
                picture = base64.b64encode(message.data[8:]).decode()
                sys.stdout.write(json.dumps({"type": "preview", "data": picture}) + "\n")
                continue
            sys.stdout.write(message.data + "\n")
            if json.loads(message.data)["type"] in ("execution_success", "execution_error"):
                return


asyncio.run(watch(sys.argv[1], sys.argv[2], json.load(sys.stdin)))
