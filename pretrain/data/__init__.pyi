# The door of pretrain.data: what other packages and rooms import from it.

from .dataset import Dataset as Dataset, open_dataset as open_dataset
from .deal import gradient_accumulation_steps as gradient_accumulation_steps
from .loader import (
    HeldOut as HeldOut,
    Loader as Loader,
    held_out_by_corpus as held_out_by_corpus,
    rows_of_passes as rows_of_passes,
)
from .run_data import (
    KeptRow as KeptRow,
    RunData as RunData,
    keep_data as keep_data,
    keep_recipe as keep_recipe,
    kept_data as kept_data,
)
from .skipped_rows import RowRange as RowRange, with_range as with_range
from .step import Step as Step
from .synthetic import write_synthetic as write_synthetic
from .training_data import TrainingData as TrainingData, open_data as open_data
