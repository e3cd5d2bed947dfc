"""The files with which `sentence-transformers` loads an exported encoder as a model of sentences."""

from __future__ import annotations

from pathlib import Path

from configs.schema import ModelConfig
from pretrain.huggingface import write_json

_LIBRARY = "sentence_transformers.models"
_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": f"{_LIBRARY}.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{_LIBRARY}.Pooling"},
]


def write_sentence_encoder(folder: Path, config: ModelConfig) -> None:
    """Write modules.json and the pooling into a Hugging Face folder.

    A sentence's vector is the mean of its tokens' vectors in the last layer, those of [CLS] and [SEP] included.
    """
    (folder / "1_Pooling").mkdir()
    write_json(folder / "modules.json", _MODULES)
    pooling = {"word_embedding_dimension": config.hidden_size, "pooling_mode_mean_tokens": True}
    write_json(folder / "1_Pooling" / "config.json", pooling | {"pooling_mode_cls_token": False})
    write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": config.max_position_embeddings, "do_lower_case": False},  # the tokenizer does that
    )
