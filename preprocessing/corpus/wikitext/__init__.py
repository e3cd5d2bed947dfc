"""Wikitext: the markup of MediaWiki, and the text that a reader of a page sees."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
