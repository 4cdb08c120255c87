"""Ourselves and those we are compared with, all behind the same few methods."""
