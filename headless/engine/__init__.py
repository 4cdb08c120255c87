"""Evaluation of the networks: devices, memory, and the branches of guidance."""
