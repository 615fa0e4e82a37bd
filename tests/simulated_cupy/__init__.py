"""A CuPy without a GPU: just what our GPU backend uses, for tests, with kernels that really run and traps for misuse."""
