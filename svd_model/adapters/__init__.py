"""Files that change a checkpoint's UNet: differences of its weights, or tensors in their places."""
