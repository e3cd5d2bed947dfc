# The door of pretrain.telemetry.boards: what other packages and rooms import from it.

from .dashboard import (
    HELD_OUT_LOSS as HELD_OUT_LOSS,
    hparams_of as hparams_of,
    layout as layout,
    recipe_tables as recipe_tables,
)
from .histograms import Histogram as Histogram, Histograms as Histograms
from .projector import WordVectors as WordVectors, word_vectors as word_vectors, write_projector as write_projector
from .tensorboard_files import TensorBoardFiles as TensorBoardFiles
from .trackers import Trackers as Trackers
