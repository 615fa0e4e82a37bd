"""The fully connected layer z = x W + b and its three gradients.

`dot`, because it multiplies a column by a row (a batch of one) several times faster than `matmul`; the method of the
array, because the function takes longer to begin.
"""

from fastnn.kernels.numpy_.rows import add_to_rows, ones


def dense(x, weight, bias, z):
    """z[n,o] = sum_i x[n,i] weight[i,o] + bias[o]."""
    x.dot(weight, out=z)
    if bias is not None:
        add_to_rows(bias, out=z)


def dense_dx(dz, weight, dx):
    """dx[n,i] = sum_o dz[n,o] weight[i,o]."""
    dz.dot(weight.T, out=dx)


def dense_dweight(x, dz, dweight):
    """dweight[i,o] = sum_n x[n,i] dz[n,o]."""
    x.T.dot(dz, out=dweight)


def column_sum(dz, dbias):
    """dbias[o] = sum_n dz[n,o]."""
    ones(len(dz), dz.dtype).dot(dz, out=dbias)
