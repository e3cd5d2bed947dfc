"""How the ranks of a start meet: a private folder on one node, a signed store between nodes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
