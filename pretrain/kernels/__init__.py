"""Fused operations of BERT, one a file; `dispatch.choose_kernels` is the way in, README.md says why."""
