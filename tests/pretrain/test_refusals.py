"""What models, features and labelled files are refused for, and that the fix that each message names works."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from configs.errors import UserError
from configs.transfer import TaskConfig
from preprocessing.dataset.manifest import VOCABULARY
from pretrain.huggingface.folder import write_hugging_face_folder
from pretrain.huggingface.pretrained import Pretrained, load_pretrained
from pretrain.huggingface.tokenizer_settings import TOKENIZER
from pretrain.huggingface.weight_files import WEIGHTS, read_weights
from pretrain.transfer.feature_files import read_texts, write_features
from pretrain.transfer.features import Features, Mix, Pooling
from pretrain.transfer.filling import Filler
from pretrain.transfer.finetuning import device_of
from pretrain.transfer.labelled.parts import find_parts
from pretrain.transfer.labelled.splits import read_records
from pretrain.transfer.tasks.answering import Answering
from pretrain.transfer.tasks.classification import Classification
from tests.pretrain.runs import VOCAB, some_model, write_run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("refusals"), some_model())


@pytest.fixture
def source(run: Path) -> Pretrained:
    return load_pretrained(run)


@pytest.fixture
def folder(source: Pretrained, tmp_path: Path) -> Path:
    """A Hugging Face folder of the run's model."""
    made = tmp_path / "hf"
    made.mkdir()
    write_hugging_face_folder(made, source.config, source.vocabulary, source.weights, {})
    load_pretrained(made)
    return made


def change(path: Path, **fields: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(content | fields), encoding="utf-8")


def no_vocabulary(folder: Path) -> None:
    (folder / VOCABULARY).unlink()
    (folder / TOKENIZER).unlink(missing_ok=True)


def no_generic_tokenizer(folder: Path) -> None:
    (folder / TOKENIZER).unlink(missing_ok=True)
    change(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


def no_table_of_tensors(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save([torch.zeros(2)], folder / "pytorch_model.bin")


def damaged_index(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / f"{WEIGHTS}.index.json").write_text('{"weights": {}}')


def damaged_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("{")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "config.json: not JSON:": damaged_configuration,
    "no vocab.txt and no tokenizer.json. Download one of them": no_vocabulary,
    "the added tokens are not a list of tokens": lambda folder: change(folder / TOKENIZER, added_tokens=[3]),
    "the word pieces have no ids": lambda folder: change(folder / "added_tokens.json", covid="x"),
    "two word pieces have the same id": lambda folder: change(folder / "added_tokens.json", covid=7, sars=7),
    "not true or false": lambda folder: change(folder / "tokenizer_config.json", do_lower_case="yes"),
    "no tokenizer.json, which defines a PreTrainedTokenizerFast": no_generic_tokenizer,
    "not an index of weights": damaged_index,
    "not a table of tensors by name": no_table_of_tensors,
    "the configuration has add_cross_attention = True; only False is supported": lambda folder: change(
        folder / "config.json", add_cross_attention=True
    ),
    "the configuration has hidden_act = prelu: Input should be": lambda folder: change(
        folder / "config.json", hidden_act="prelu"
    ),
    "the configuration has num_hidden_layers = -2": lambda folder: change(folder / "config.json", num_hidden_layers=-2),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_a_damaged_model_folder_is_named_and_the_undamaged_file_repairs_it(message: str, folder: Path) -> None:
    whole = folder.with_name("whole")
    shutil.copytree(folder, whole)
    DAMAGES[message](folder)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load_pretrained(folder)
    assert len(str(caught.value).splitlines()) == 1
    shutil.rmtree(folder)
    shutil.copytree(whole, folder)  # download it again
    assert read_weights(folder)
    load_pretrained(folder)


def test_filling_needs_a_mask_and_a_text_that_fits(source: Pretrained) -> None:
    filler = Filler(source)
    with pytest.raises(UserError, match=r"the text has no \[MASK\]. Write \[MASK\] where"):
        filler.fill("the cat is good", 1)
    with pytest.raises(UserError, match=r"the text has 63 tokens, the model accepts 48. Shorten the text"):
        filler.fill("the " * 60 + "[MASK]", 1)
    assert filler.fill("the cat is [MASK]", 1)
    assert filler.fill("the " * 40 + "[MASK]", 1)


def test_features_need_layers_that_exist_and_texts(source: Pretrained, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"layers 9, but the model has 0 to 2. Choose from these layers"):
        Features(source, [9], Pooling.mean, 32, CPU)
    Features(source, [2], Pooling.mean, 32, CPU)
    for name in ("x.arrow", "x.npz"):
        with pytest.raises(UserError, match=rf"{name}: no texts. Give a file with texts"):
            write_features(tmp_path / name, iter(()), ["layer_2"], of_tokens=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "not a mix of layers:"),
        ('{"layers": [1, 2], "weights": [0.9, 0.7]}', "one weight per layer, and the weights must sum to 1"),
    ],
)
def test_a_mix_is_refused_and_the_form_that_the_message_shows_is_read(
    content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "mix.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        Mix.read(path)
    shown = caught.value.fix.removeprefix("give a file like ")
    path.write_text(shown if shown.startswith("{") else '{"layers": [1, 2], "weights": [0.3, 0.7]}')
    assert Mix.read(path).of(np.ones((2, 1, 1), np.float32)) == pytest.approx(1.0)


def test_a_text_without_a_value_offers_another_column(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": null, "body": "good film"}\n')
    with pytest.raises(UserError, match=r"t.jsonl, line 1: .*, or set --text"):
        list(read_texts(path))
    assert list(read_texts(path, "body")) == ["good film"]


def test_cuda_without_a_gpu_is_refused_and_auto_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"torch finds no GPU\. Set device to auto or cpu"):
        device_of("cuda")
    assert device_of("auto") == device_of("cpu") == CPU


def test_an_unknown_metric_names_those_that_work() -> None:
    task = Classification(["a", "b"], VOCAB, 32)
    with pytest.raises(UserError, match="this task has no metric 'rouge'") as caught:
        task.watch("rouge")
    for metric in caught.value.fix.removeprefix("choose one of ").split(", "):
        task.watch(metric)
        assert task.watched == metric


def test_windows_that_cannot_overlap_name_a_length_that_works() -> None:
    with pytest.raises(
        UserError, match="windows of 64 tokens cannot overlap by 32 and hold a question of 64"
    ) as caught:
        Answering(VOCAB, 64, 32, may_abstain=False)
    least = int(caught.value.fix.removeprefix("set max_length above ")) + 1
    Answering(VOCAB, least, 32, may_abstain=False)


def parquet_cut_short(path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a" * 5000] * 3000, "label": ["x"] * 3000}), path, compression="none")
    content = bytearray(path.read_bytes())
    content[4:4000] = b"\xff" * 3996  # the pages, not the footer
    path.write_bytes(content)


WRITTEN: dict[str, tuple[str, bytes]] = {
    "not UTF-16 text. Save it as UTF-8": ("d.csv", b"\xff\xfet\x00e\x00x\x00t\x00\x00\xd8"),
    "line 2: a zero byte: this is not a text file": ("d.csv", b"text,label\na\x00b,x\n"),
    "not JSON: ": ("d.json", b'[{"text": "a", "label": "x"},\n'),
    "JSON, but not an array of objects": ("d.json", b'{"rows":\n {"text": "a"}}\n'),
    "this is compressed twice. Decompress it once": ("d.csv.gz", b""),
    "this is a tar archive. Unpack it": ("d.csv", b"\0" * 257 + b"ustar" + b"\0" * 300),
    "this is a PDF": ("d.csv", b"%PDF-1.7 text"),
    "this is a zip archive": ("d.csv", b""),
}


@pytest.mark.parametrize("message", WRITTEN)
def test_a_file_of_another_kind_is_named(message: str, tmp_path: Path) -> None:
    import gzip
    import zipfile

    name, content = WRITTEN[message]
    path = tmp_path / name
    path.write_bytes(content)
    if "twice" in message:
        path.write_bytes(gzip.compress(gzip.compress(b"text,label\na,x\n")))
    if "zip archive" in message:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("d.csv", "text,label\na,x\n")
    task = TaskConfig(kind="classify", data=str(path))
    with pytest.raises(UserError, match=re.escape(message)):
        read_records(path, task)
    path.write_text("text,label\na,x\n", encoding="utf-8")
    assert len(read_records(path, task)) == 1


def test_a_damaged_columnar_file_or_folder_is_refused(tmp_path: Path) -> None:
    parquet_cut_short(tmp_path / "d.parquet")
    with pytest.raises(UserError, match=r"a damaged file: .* Write the file again"):
        read_records(tmp_path / "d.parquet", TaskConfig(kind="classify", data="d.parquet"))
    (tmp_path / "ds").mkdir()
    for name, message in (("dataset_dict.json", "write it again"), ("state.json", "`Dataset.save_to_disk`")):
        (tmp_path / "ds" / name).write_text("{}")
        with pytest.raises(UserError, match="a damaged `datasets` folder: ") as caught:
            read_parts(tmp_path / "ds")
        assert message in str(caught.value).replace("Write", "write")


def read_parts(folder: Path) -> Iterator[Any]:
    task = TaskConfig(kind="classify", data=str(folder))
    return iter([read_records(path, task) for path in find_parts(task).values()])
