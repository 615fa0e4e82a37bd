"""The CUDA kernels: `.cu` text that CuPy compiles for the GPU on first use, and the Python that launches it."""
