"""BERT's fused operations, one per file. `choose_kernels` selects the backend; README.md gives the reasons."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
