"""Evaluates the networks: on which device, in how much memory."""
