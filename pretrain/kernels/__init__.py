"""The fused operations of BERT, one a file; `choose_kernels` selects the backend. README.md explains why."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
