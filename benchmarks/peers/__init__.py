"""Stillmotion and its peers, with equal methods."""
