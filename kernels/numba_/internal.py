"""Kernels that only this backend has: it puts them in the place of the contract's own, for the same bits."""

from fastnn.kernels.contract import Kernel, read

_TABLE = """
gather_slabs   data[M,F] permutation[M]:int? clock[3]:int -> out[N,F] +fault[1]:int \
                                               ; code:int slabs:int ; split slabs out
dense_slabs    x[N,I] weight[I,O] -> parts[S,P]                     ; split slabs parts
dense_dx_slabs dz[N,O] weight[I,O] -> dx[N,I]                      ; split params weight
sum_slabs      parts[S,P] bias[O]? -> z[N,O]                        ; split rows z
"""

INTERNAL: dict[str, Kernel] = read(_TABLE)
