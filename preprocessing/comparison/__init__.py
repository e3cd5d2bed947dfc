"""The comparison of all documents: fingerprints to lists of what to drop, in steps that any number of workers share."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
