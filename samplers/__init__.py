"""Preconditioning, noise schedules, guidance and solvers, as pure functions of tensors."""
