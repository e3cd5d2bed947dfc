"""Tables: what a file is by its content, and its rows, each with its place."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
