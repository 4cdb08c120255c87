"""Import of the pack from its folder, for interpreters in which it is not installed."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def load_pack(root: Path) -> None:
    """Makes `import stillmotion` find the pack in a folder."""
    where = {"submodule_search_locations": [str(root)]}
    spec = spec_from_file_location("stillmotion", root / "__init__.py", **where)
    sys.modules["stillmotion"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
