"""A clip, for both front doors: its settings, picture, conditions and noise, its plan and its recipe."""
