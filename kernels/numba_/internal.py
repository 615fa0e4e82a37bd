"""Kernels that only this backend has: it puts them in the place of the contract's own, for the same bits.

Letters: H numbers in a row of halves, S slabs, P numbers of z. `split slabs A` shares slabs, each a row of `parts`;
`dense_dx_slabs` shares the rows of the weights, which are the columns of dx.
"""

from fastnn.kernels.contract import Kernel, read

_TABLE = """
gather_halves        data[M,F] permutation[M]:int? clock[3]:int -> halves[N,H] +fault[1]:int \
                                               ; code:int slabs:int ; split slabs halves
dense_slabs          x[N,I] weight[I,O] -> parts[S,P]               ; split slabs parts
dense_halves         halves[N,H] weight[I,O] -> parts[S,P]          ; split slabs parts
dense_dweight_halves halves[N,H] dz[N,O] -> dweight[I,O]            ; split params dweight
dense_dx_slabs       dz[N,O] weight[I,O] -> dx[N,I]                 ; split params weight
sum_slabs            parts[S,P] bias[O]? -> z[N,O]                  ; split rows z
"""

INTERNAL: dict[str, Kernel] = read(_TABLE)
