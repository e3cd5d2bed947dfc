"""Labelled data: what a file is by its content, its rows, the one reading of a label, and a task's parts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
