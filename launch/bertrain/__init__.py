"""Pretrain BERT-style encoders on your own text, from Python: the public API.

    import bertrain

    recipe = bertrain.load_recipe("news.toml", {"train.steps": 1000})
    dataset = bertrain.prepare(recipe)                  # raw text to shards of masked sentence pairs
    print(dataset.rows()[0].input_ids)                  # NumPy views on memory-mapped shards
    training = bertrain.train(recipe, progress=print)   # one process a GPU, or one on the CPU
    bertrain.export(training.run, "news-bert")          # a folder for transformers' from_pretrained

Names are imported when they are first used: `import bertrain` loads neither torch nor Apache Beam. Functions return
values and print nothing. They raise `UserError`, which names cause, place, and fix, for whatever the caller can fix.
"""

import lazy_loader

from bertrain.own_packages import check_own_packages

check_own_packages()
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
