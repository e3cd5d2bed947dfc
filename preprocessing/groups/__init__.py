"""Groups on disk: what they are made from, their shards and side files, and the manifest that sums them up."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
