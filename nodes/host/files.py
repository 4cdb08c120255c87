"""Checkpoint files in the host's folders of models."""

import folder_paths

_FOLDER = "checkpoints"


def checkpoint_names() -> list[str]:
    """Lists the host's checkpoints as its own loaders do: names below models/checkpoints."""
    return folder_paths.get_filename_list(_FOLDER)


def checkpoint_path(name: str) -> str:
    """Finds the file of a checkpoint; raises FileNotFoundError where the host has none of that name."""
    return folder_paths.get_full_path_or_raise(_FOLDER, name)
