"""The acceptance of a GPU: `python -m fastnn.gpucheck --out FILE` runs all that needs one and records what it saw."""
