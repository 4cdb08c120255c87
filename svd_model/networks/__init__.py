"""The networks of the SVD family, the layers that they are made of, and the kernels that compute these."""
