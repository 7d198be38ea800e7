"""Kernels as LLVM IR text. A kernel's file holds its offer (may it serve this spec here, at what cost) and its generator."""
