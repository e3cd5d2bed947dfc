"""What depends on the machine: locks, private folders, child processes, and the console's encoding."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
