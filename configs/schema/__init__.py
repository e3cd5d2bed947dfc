"""The recipe's schema: every setting of bertrain with its type, unit, range, default, and description."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
