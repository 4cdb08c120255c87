"""Many clips: rows of a source become clips in a store, each once, by any number of processes."""
