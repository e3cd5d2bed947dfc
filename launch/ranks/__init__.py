"""Ranks on this machine: their addresses, their supervisor, their logs, and the folder of their run."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
