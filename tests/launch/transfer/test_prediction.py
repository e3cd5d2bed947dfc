"""`bertrain predict` on models that `bertrain finetune` wrote."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from configs.errors import UserError
from configs.tasks import load_task
from launch.transfer.finetuning import run_finetune
from launch.transfer.prediction import run_predict
from pretrain.transfer.report import _read_state
from tests.launch.test_cli import bertrain
from tests.pretrain.huggingface import model_folders as folders
from tests.pretrain.runs import some_model, write_run
from tests.pretrain.transfer.test_finetuning import some_records

QUICK = ["finetune.epochs=1", "finetune.max_length=32", "finetune.device=cpu", "finetune.batch_size=16"]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def finetuned(folder: Path, data: Path, *settings: str) -> Path:
    run = write_run(folder, some_model(max_position_embeddings=96), max_position_embeddings=96)
    run_finetune(run, load_task(data, [*QUICK, *settings]), folder / "out", [])
    return folder / "out"


def test_whole_rows_are_written_with_labels_of_their_own_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": record["text"], "label": record["label"] == "good"} for record in some_records(80, 1).records]
    out = finetuned(tmp_path, lines(tmp_path / "a.jsonl", rows), "task.kind=classify")
    tested = read(out / "seed_0" / "predictions.jsonl")
    assert all(isinstance(row["label"], bool) and isinstance(row["prediction"], bool) for row in tested)
    new = [{"id": number, "text": text, "prediction": "old"} for number, text in enumerate(("good film", "bad cat"))]
    run_predict(out, lines(tmp_path / "new.jsonl", new), tmp_path / "labelled.jsonl")
    made = read(tmp_path / "labelled.jsonl")
    assert [(row["id"], row["text"], row["given_prediction"]) for row in made] == [
        (0, "good film", "old"),
        (1, "bad cat", "old"),
    ]
    assert all(isinstance(row["prediction"], bool) for row in made)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(out / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(out / "model")
    with torch.no_grad():
        expected = model(**tokenizer("good film", return_tensors="pt")).logits.softmax(-1)[0].tolist()
    assert list(made[0]["probabilities"].values()) == pytest.approx(expected, abs=1e-5)
    assert model.config.id2label == {0: "false", 1: "true"}
    assert "[UNK]" not in capsys.readouterr().err
    run_predict(out, lines(tmp_path / "cyrillic.jsonl", [{"text": "плохой фильм film"}]), tmp_path / "other.jsonl")
    assert "warning: 67% of the word pieces are [UNK]: the model's vocabulary does not fit" in capsys.readouterr().err
    with pytest.raises(UserError, match="the file exists already"):
        run_predict(out, tmp_path / "new.jsonl", tmp_path / "labelled.jsonl")
    with pytest.raises(UserError, match="not a fine-tuned model"):
        run_predict(tmp_path / "runs" / "small", tmp_path / "new.jsonl", None)


@pytest.mark.parametrize("fields", [{"type_vocab_size": 1, "hidden_act": "gelu_new"}, {"type_vocab_size": 4}], ids=str)
def test_a_folder_of_other_token_types_and_activation_is_finetuned(fields: dict[str, Any], tmp_path: Path) -> None:
    """Also on pairs: with one token type, both segments are of it, in the written model too."""
    source = tmp_path / "source"
    folders.model_of(**fields).save_pretrained(source)
    folders.write_tokenizer(source)
    rows = [
        {"text": record["text"], "text_b": "the cat", "label": record["label"]}
        for record in some_records(60, 1).records
    ]
    recipe = load_task(lines(tmp_path / "a.jsonl", rows), [*QUICK, "task.kind=pair"])
    run_finetune(source, recipe, tmp_path / "out", [])
    config = json.loads((tmp_path / "out/model/config.json").read_text())
    assert {name: config[name] for name in fields} == fields
    run_predict(tmp_path / "out", lines(tmp_path / "new.jsonl", rows[:1]), tmp_path / "made.jsonl")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out/model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out/model")
    with torch.no_grad():
        inputs = tokenizer(rows[0]["text"], rows[0]["text_b"], return_tensors="pt")
        expected = model(**inputs).logits.softmax(-1)[0].tolist()
    assert list(read(tmp_path / "made.jsonl")[0]["probabilities"].values()) == pytest.approx(expected, abs=1e-5)


def test_the_command_writes_to_standard_output(tmp_path: Path) -> None:
    out = finetuned(tmp_path, lines(tmp_path / "a.jsonl", some_records(60, 1).records), "task.kind=classify")
    (tmp_path / "new.csv").write_text("body,label\ngood film,?\n")
    ended = bertrain("predict", str(out), "new.csv", "task.text=body", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    (row,) = map(json.loads, ended.stdout.splitlines())
    assert (row["body"], row["label"]) == ("good film", "?")
    assert row["prediction"] in ("good", "bad")
    assert ended.stderr == f"standard output: 1 records; {row['prediction']}: 1\n"
    (tmp_path / "uneven.csv").write_text("text,id\ngood film,1\nbad, film,2\n")
    dropping = bertrain("predict", str(out), "uneven.csv", "task.bad_records=drop", folder=tmp_path)
    assert dropping.stderr.startswith("1 records dropped: 3 fields separated by commas, but the header names 2\n")
    refused = bertrain("predict", str(out), "new.csv", folder=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "set task.text to one of them" in refused.stderr


def test_questions_and_sentences_and_numbers(tmp_path: Path) -> None:
    answers = {"text": ["cat"], "answer_start": [4]}
    rows: list[dict[str, Any]] = [
        {"id": str(n), "question": "?", "context": f"the cat {n}", "answers": answers} for n in range(40)
    ]
    out = finetuned(tmp_path / "qa", lines(tmp_path / "qa.json", rows), "finetune.max_length=90", "finetune.stride=8")
    new = {"data": [{"paragraphs": [{"context": "the cat", "qas": [{"id": "q0", "question": "Who?"}]}]}]}
    (tmp_path / "new.json").write_text(json.dumps(new))
    run_predict(out, tmp_path / "new.json", tmp_path / "qa.jsonl")
    assert read(tmp_path / "qa.jsonl")[0]["id"] == "q0"
    assert read(tmp_path / "qa.jsonl")[0]["prediction"] in "the cat"

    (tmp_path / "a.conll").write_text("the O\ncat B-x\n\n" + "".join(f"bank{n} B-x\nis O\n\n" for n in range(30)))
    out = finetuned(tmp_path / "tag", tmp_path / "a.conll")
    (tmp_path / "new.conll").write_text("the\ncat\n\nriver\n")
    run_predict(out, tmp_path / "new.conll", tmp_path / "tags.jsonl")
    assert [len(row["prediction"]) for row in read(tmp_path / "tags.jsonl")] == [2, 1]

    numbered = [{"tokens": ["the", f"cat{number}"], "tags": [number % 2, 2]} for number in range(30)]
    out = finetuned(tmp_path / "numbers", lines(tmp_path / "numbers.jsonl", numbered), "task.kind=tag")
    run_predict(out, lines(tmp_path / "n.jsonl", [{"tokens": ["the"]}]), tmp_path / "numbers_made.jsonl")
    for row in (*read(tmp_path / "numbers_made.jsonl"), *read(out / "seed_0" / "predictions.jsonl")):
        assert set(row["prediction"]) <= {0, 1, 2}

    (tmp_path / "stars.csv").write_text("text,stars\n" + "".join(f"bank {n},{n % 10 / 2}\n" for n in range(60)))
    out = finetuned(
        tmp_path / "stars", tmp_path / "stars.csv", "task.kind=classify", "task.regression=true", "task.label=stars"
    )
    tested = read(out / "seed_0" / "predictions.jsonl")
    (tmp_path / "new.csv").write_text(f"text\n{tested[0]['text']}\n")
    run_predict(out, tmp_path / "new.csv", tmp_path / "stars.jsonl")
    assert read(tmp_path / "stars.jsonl")[0]["prediction"] == pytest.approx(tested[0]["prediction"], abs=1e-4)


def test_a_damaged_model_is_refused_and_never_gives_other_labels(tmp_path: Path) -> None:
    rows = [{"text": record["text"], "label": record["label"]} for record in some_records(60, 1).records]
    out = finetuned(tmp_path, lines(tmp_path / "a.jsonl", rows), "task.kind=classify")
    head, weights = out / "model/head.json", out / "model/model.safetensors"
    whole, state = head.read_bytes(), _read_state(head)
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        head.write_bytes(flipped)
        with suppress(UserError):
            assert _read_state(head) == state
    for content, cause in (
        (b"{", "damaged: its content"),
        (b'{"labels": ["good"]}', "its files contradict each other"),
    ):
        head.write_bytes(content)
        with pytest.raises(UserError, match=cause):
            run_predict(out, tmp_path / "a.jsonl", None)
    head.write_text(json.dumps(state))  # as an earlier version wrote it
    run_predict(out, tmp_path / "a.jsonl", tmp_path / "labelled.jsonl")
    tensors = load_file(weights)
    save_file({name: tensor for name, tensor in tensors.items() if name != "classifier.bias"}, weights)
    with pytest.raises(UserError, match=r"its files contradict each other: KeyError: 'classifier\.bias'"):
        run_predict(out, tmp_path / "a.jsonl", None)
