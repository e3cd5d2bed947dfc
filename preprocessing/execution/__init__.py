"""Run the pipeline: Beam steps, runners, workers, shares, groups on disk, and the manifest."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
