# The door of launch.transfer.sharing: what other packages and rooms import from it.

from .onnx_model import write_onnx as write_onnx
from .publishing import run_push as run_push
from .sentence_encoder import write_sentence_encoder as write_sentence_encoder
