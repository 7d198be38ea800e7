"""Measurements: what this machine can do, and how near to it the kernels come."""
