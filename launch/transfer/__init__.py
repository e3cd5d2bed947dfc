"""Commands on pretrained models: evaluation, export, import, fine-tuning, and features."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
