"""Clips: the settings, pictures and conditions that both front doors animate with."""
