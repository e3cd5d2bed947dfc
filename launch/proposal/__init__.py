"""`bertrain init`: a commented recipe for a corpus, from what its files hold and what this machine has."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
