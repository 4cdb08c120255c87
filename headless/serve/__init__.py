"""A service: pictures come by HTTP, wait in a queue, and become the clips of a batch's store."""
