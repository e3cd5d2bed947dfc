"""What depends on the machine: cores and memory, locks, private folders, child processes, and the console."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
