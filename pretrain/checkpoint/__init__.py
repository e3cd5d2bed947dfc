"""Checkpoints: saving, verifying, finding, and loading them at any ZeRO stage and world size."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
