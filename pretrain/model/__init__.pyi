# The door of pretrain.model: what other packages and rooms import from it.

from .batch import NO_LABEL as NO_LABEL, Batch as Batch, filler_batch as filler_batch, padded as padded
from .encoder import BertModel as BertModel
from .flops import (
    FORWARD_AND_BACKWARD as FORWARD_AND_BACKWARD,
    PEAK_FLOPS as PEAK_FLOPS,
    bert_parameters as bert_parameters,
    mfu as mfu,
    peak_flops as peak_flops,
    row_flops as row_flops,
    training_flops as training_flops,
)
from .padding import Padding as Padding
from .pretraining import BertForPreTraining as BertForPreTraining
from .tiling import SIZES as SIZES, tiled_weights as tiled_weights
