"""Files that are read and written: pictures, videos and latents."""
