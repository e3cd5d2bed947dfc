"""The data set on disk: its manifest, its shards, and their digests."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
