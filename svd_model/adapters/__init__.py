"""Files that change a checkpoint's networks: views of its tensors with others in their places."""
