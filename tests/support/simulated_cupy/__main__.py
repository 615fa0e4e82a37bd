"""Runs a program on the simulated device where there is no GPU: python -m simulated_cupy -m MODULE ARGUMENTS."""

import runpy
import sys

import simulated_cupy

simulated_cupy.provide()
del sys.argv[:2]  # this file and -m
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
