"""Motion that the user decides: a coarse video of what moves where, and the mask of where it is known.

Pictures are (C, H, W), videos (T, C, H, W), masks (T, 1, H, W) of 0 and 1. Pixel centres are whole numbers; x
goes right, y down, so that positive degrees turn clockwise.
"""
