"""fastnn: small and medium neural networks, trained fast, under Keras' names.

One piece of layer and optimizer code runs on NumPy (to be read), on Numba (native code) or on CuPy, chosen by a flag.
"""

import os as _os

_here = __path__[0]
if not _os.path.isdir(_os.path.join(_here, "kernels")):  # in a checkout, `kernels/` lies beside this folder
    __path__.append(_os.path.dirname(_here))

from fastnn import (  # noqa: E402
    activations,
    callbacks,
    data,
    datasets,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    regularizers,
    schedules,
    testing,
    utils,
)
from fastnn.backends import backend, set_threads, use  # noqa: E402
from fastnn.errors import DeviceError, NonFiniteError  # noqa: E402
from fastnn.history import History  # noqa: E402
from fastnn.kernels.precision import use_tf32  # noqa: E402
from fastnn.layers import Input  # noqa: E402
from fastnn.model import Sequential  # noqa: E402
from fastnn.saving import load_model  # noqa: E402

__version__ = "0.1.0"
__all__ = [
    "DeviceError",
    "History",
    "Input",
    "NonFiniteError",
    "Sequential",
    "activations",
    "backend",
    "callbacks",
    "data",
    "datasets",
    "initializers",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "optimizers",
    "regularizers",
    "schedules",
    "set_threads",
    "testing",
    "use",
    "use_tf32",
    "utils",
]
