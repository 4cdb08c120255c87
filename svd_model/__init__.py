"""The networks of Stable Video Diffusion, their checkpoints and their conditioning, in plain PyTorch."""
