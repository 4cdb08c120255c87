"""MotionCtrl over svd: the 144 tensors that its training added or changed, in place of svd's own."""

import re

from ..checkpoint.kinds import check_numbers
from ..checkpoint.layouts.origins import Origin, renamed
from ..checkpoint.layouts.released import UNET
from ..checkpoint.sizes import CAMERA_DIM, CAMERA_LAYER, Shapes
from ..checkpoint.sources import CheckpointError, TensorFile, joined

_LAYER = re.compile(
    r"(?:input_blocks|middle_block|output_blocks)\..*\.time_stack\.0\.(?:cc_projection|norm2|attn2)\..+"
)
"""Names of the changed tensors in a UNet, under the released names."""


def over_svd(base: TensorFile, changes: TensorFile) -> TensorFile:
    """A view of svd's tensors with MotionCtrl's in place; the names are the released ones.

    `changes`: a file of the changed tensors, under any prefix, or the whole of MotionCtrl's checkpoint.
    Raises CheckpointError where one of them is missing or has another shape.
    """
    found = {UNET + match[0]: key for key in changes.shapes if (match := _LAYER.search(key))}
    view = renamed(changes, {name: Origin((key,)) for name, key in found.items()})
    expected = _changed(base.shapes)
    if not expected:
        raise CheckpointError(f"{base.path} has no layers over time that MotionCtrl changes; give svd.")
    for name, shape in expected.items():
        stored = view.shapes.get(name)
        if stored != shape:
            fault = "missing" if stored is None else f"{list(stored)} instead of {list(shape)}"
            raise CheckpointError(
                f"{changes.path}: {name}, one of {len(expected)} tensors with which MotionCtrl changes "
                f"{base.path}, is {fault}; choose another file, or the whole motionctrl_svd."
            )
    view = view.having(expected)
    check_numbers(view)
    return joined(base.path, [view, base], base.metadata)


def _changed(shapes: Shapes) -> Shapes:
    """Names and shapes of the tensors that MotionCtrl changes in svd's UNet, or adds to it."""
    changed = {}
    for key, shape in shapes.items():
        if not key.startswith(UNET) or not _LAYER.search(key):
            continue
        changed[key] = shape
        block, _, rest = key.partition(".time_stack.0.")
        if rest == "norm2.bias":
            (width,) = shape
            changed[f"{block}{CAMERA_LAYER}weight"] = (width, width + CAMERA_DIM)
            changed[f"{block}{CAMERA_LAYER}bias"] = (width,)
    return changed
