"""Loops over pixels that torch has no operation for, compiled by numba on first use.

All take and give numpy arrays and hold no state. What a decoder runs is float32 as written, so that
a machine's vector units do not change a result; only sums of the encoder may be reordered.
"""
