"""Networks of the SVD family, their layers, and the kernels that compute these layers."""
