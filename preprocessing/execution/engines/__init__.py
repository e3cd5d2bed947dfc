"""Where a pipeline runs: the processes of this machine, or any engine of Beam; and how it is watched and stopped."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
