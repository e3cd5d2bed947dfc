"""What became of the input: counts by file, and the judgement of what was lost."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
