"""The reference kernels, in NumPy: written to be read; every other backend is tested against them."""

from fastnn.kernels.numpy_.activation import activation, activation_gradient, dropout, softmax, softmax_gradient
from fastnn.kernels.numpy_.data import check_finite, gather, scatter
from fastnn.kernels.numpy_.dense import column_sum, dense, dense_dweight, dense_dx
from fastnn.kernels.numpy_.loss import (
    absolute_error,
    binary_crossentropy,
    categorical_crossentropy,
    huber,
    sigmoid_crossentropy,
    smooth,
    softmax_crossentropy,
    softmax_crossentropy_sparse,
    sparse_crossentropy,
    squared_error,
)
from fastnn.kernels.numpy_.metric import binary_accuracy, categorical_accuracy, penalty, record, sparse_accuracy
from fastnn.kernels.numpy_.optimizer import adagrad_update, adam_update, regularize, rmsprop_update, sgd_update
from fastnn.kernels.numpy_.random import order_of, random_bits

__all__ = [
    "absolute_error",
    "activation",
    "activation_gradient",
    "adagrad_update",
    "adam_update",
    "binary_accuracy",
    "binary_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "check_finite",
    "column_sum",
    "dense",
    "dense_dweight",
    "dense_dx",
    "dropout",
    "gather",
    "huber",
    "order_of",
    "penalty",
    "random_bits",
    "record",
    "regularize",
    "rmsprop_update",
    "scatter",
    "sgd_update",
    "sigmoid_crossentropy",
    "smooth",
    "softmax",
    "softmax_crossentropy",
    "softmax_crossentropy_sparse",
    "softmax_gradient",
    "sparse_accuracy",
    "sparse_crossentropy",
    "squared_error",
]
