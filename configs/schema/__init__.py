"""The recipe's schema: every setting of bertrain, typed, with its unit, range, and default."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
