# The door of pretrain.huggingface: what other packages and rooms import from it.

from .configuration import family_of as family_of
from .folder import (
    largest_difference as largest_difference,
    padded as padded,
    write_hugging_face_folder as write_hugging_face_folder,
)
from .json_files import write_json as write_json
from .model_card import write_model_card as write_model_card
from .pretrained import (
    Pretrained as Pretrained,
    data_of as data_of,
    dataset_of as dataset_of,
    load_pretrained as load_pretrained,
    recipe_of as recipe_of,
    run_of as run_of,
)
from .tokenizer_settings import Casing as Casing
