"""Input files to documents: finding, decompressing, and splitting files, and the plan of the work."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
