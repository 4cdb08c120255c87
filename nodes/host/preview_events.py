"""Who watches a run, and the event that says how the picture after it is a clip."""

import sys

from comfy.cli_args import LatentPreviewMethod, args
from comfy_execution.utils import get_executing_context
from server import PromptServer

EVENT = "stillmotion.preview"
_SWITCH = "--preview-method"


def are_wanted() -> bool:
    """Whether previews are to be shown: as the user set them, and without a setting to the host's page.

    The host's are off without a setting.
    """
    if args.preview_method != LatentPreviewMethod.NoPreviews:
        return True
    chosen = any(argument.partition("=")[0] == _SWITCH for argument in sys.argv)
    asked = _extra_data().get("preview_method") not in (None, "default")
    return not (chosen or asked) and is_moving() and _workflow() is not None


def is_moving() -> bool:
    """Whether a client queued the run, and its settings don't turn moving previews off."""
    own = _extra_of_workflow().get("stillmotion")
    off = isinstance(own, dict) and own.get("moving_preview") is False
    return _client() is not None and not off


def is_of_page() -> bool:
    """Whether the host's page queued the run, which attaches its workflow."""
    return is_moving() and _workflow() is not None


def announce(step: int, steps: int, sheet: tuple[int, int, int], fps: float) -> None:
    """Sends the event to whoever queued the run. sheet: frames, columns, rows of the picture to come."""
    context = get_executing_context()
    if context is None or not is_moving():
        return
    frames, columns, rows = sheet
    message = {"node": context.node_id, "prompt_id": context.prompt_id, "step": step, "steps": steps}
    message |= {"frames": frames, "columns": columns, "rows": rows, "fps": fps}
    PromptServer.instance.send_sync(EVENT, message, _client())


def _client() -> str | None:
    server = getattr(PromptServer, "instance", None)  # none where a script runs a node alone
    return None if server is None else server.client_id


def _extra_data() -> dict:
    """What came with the prompt that runs."""
    context, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if context is None or server is None:
        return {}
    running = server.prompt_queue.get_current_queue_volatile()[0]
    return next((item[3] for item in running if item[1] == context.prompt_id), {})


def _workflow() -> dict | None:
    information = _extra_data().get("extra_pnginfo")
    workflow = information.get("workflow") if isinstance(information, dict) else None
    return workflow if isinstance(workflow, dict) else None


def _extra_of_workflow() -> dict:
    extra = (_workflow() or {}).get("extra")
    return extra if isinstance(extra, dict) else {}
