"""Adapters: files that change a network, read as differences of its weights."""
