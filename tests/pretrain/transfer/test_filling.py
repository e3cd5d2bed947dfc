from __future__ import annotations

from pathlib import Path

import pytest
import torch

from configs.errors import UserError
from configs.schema import ModelConfig
from pretrain.huggingface.folder import write_hugging_face_folder
from pretrain.huggingface.pretrained import Pretrained, load_pretrained
from pretrain.transfer.filling import Filler
from tests.pretrain.runs import MODEL, VOCAB, some_model


def source(**bias: float) -> Pretrained:
    """Return a model whose word scores equal `bias`: the transformation before the decoder outputs zeros."""
    model = some_model()
    with torch.no_grad():
        model.masked_lm.norm.weight.zero_()
        model.masked_lm.norm.bias.zero_()
        model.masked_lm.decoder.bias.fill_(-100.0)
        for piece, score in bias.items():
            model.masked_lm.decoder.bias[VOCAB.ids[piece]] = score
    return Pretrained(Path("here"), ModelConfig(**MODEL), VOCAB, dict(model.named_parameters()))


def test_fill_returns_the_most_likely_pieces_of_each_mask() -> None:
    probabilities = torch.tensor([3.0, 2.0, 1.0]).softmax(0).tolist()
    fillings = Filler(source(cat=3.0, bank=2.0, film=1.0)).fill("the [MASK] of [MASK].", top=3)
    assert [filling.pieces for filling in fillings] == [["cat", "bank", "film"]] * 2
    assert fillings[0].probabilities == pytest.approx(probabilities)


def test_fillings_depend_on_the_text() -> None:
    model = some_model()
    pretrained = Pretrained(Path("here"), ModelConfig(**MODEL), VOCAB, dict(model.named_parameters()))
    filler = Filler(pretrained)
    one, other = (filler.fill(text, 3)[0].pieces for text in ("good [MASK] film", "paris is [MASK] ?"))
    assert one != other


@pytest.mark.parametrize(("text", "words"), [("no mask", r"has no \[MASK\]"), ("[MASK] " + "a " * 60, "has 63 tokens")])
def test_text_without_mask_or_too_long_raises(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Filler(source()).fill(text, 3)


def test_encoder_without_head_raises(tmp_path: Path) -> None:
    alone = {name: weight for name, weight in some_model().named_parameters() if name.startswith("bert.")}
    write_hugging_face_folder(
        tmp_path, ModelConfig(**MODEL), VOCAB, {name: weight.detach() for name, weight in alone.items()}
    )
    with pytest.raises(UserError, match="no masked-LM head"):
        Filler(load_pretrained(tmp_path))
