"""What a recipe costs: memory per rank, communication, time per step, and preparation. Imports no torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
