# The door of launch.transfer: what other packages and rooms import from it.

from .embedding import run_embed as run_embed
from .evaluation import run_evaluation as run_evaluation
from .filling import run_fill as run_fill
from .finetuning import run_finetune as run_finetune, run_finetunes as run_finetunes
from .huggingface import (
    Export as Export,
    export_run as export_run,
    import_model as import_model,
    run_export as run_export,
)
from .prediction import run_predict as run_predict
from .senses import run_senses as run_senses
from .sharing import run_push as run_push
from .stopping import ending_resumably as ending_resumably
