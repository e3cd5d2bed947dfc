"""Documents to the corpus that is kept: cleaning, duplicates, boilerplate, and the vocabulary sample."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
