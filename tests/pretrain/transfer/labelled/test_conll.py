from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.transfer import TaskConfig
from pretrain.transfer.labelled.conll import read_tokens
from pretrain.transfer.labelled.records import Records

CONLL_U = """# sent_id = 1
# text = Zum Haus
1-2\tZum\t_\t_\t_\t_\t_\t_\t_\t_
1\tZu\tzu\tADP\tAPPR\t_\t3\tcase\t_\t_
2\tdem\tder\tDET\tART\t_\t3\tdet\t_\t_
3\tHaus\tHaus\tNOUN\tNN\t_\t0\troot\t_\t_
3.1\t_\t_\t_\t_\t_\t_\t_\t_\t_

1\t#\t#\tSYM\t$(\t_\t0\troot\t_\t_
"""

GERMEVAL = """#\thttp://de.wikipedia.org/wiki/Manfred [2009-10-17]
1\tAufgrund\tO\tO
2\tseiner\tO\tO

#\thttp://de.wikipedia.org/wiki/Nizza [2009-10-17]
1\tOGC\tB-ORG\tO
2\tNizza\tI-ORG\tB-LOC
"""


def read(folder: Path, text: str, *, labelled: bool = True, **fields: Any) -> Records:
    (folder / "a.conll").write_text(text, encoding="utf-8")
    return read_tokens(folder / "a.conll", TaskConfig(kind="tag", data="-", **fields), labelled=labelled)


def test_columns_and_separators(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- O\n\nParis NNP B-loc\nis VBZ O\n\t\nRome NNP B-loc"
    assert read(tmp_path, text).records == [
        {"tokens": ["Paris", "is"], "labels": ["B-loc", "O"]},
        {"tokens": ["Rome"], "labels": ["B-loc"]},
    ]
    assert read(tmp_path, text, label="2").records[1]["labels"] == ["NNP"]
    assert read(tmp_path, "New York\tB-loc \nis\tO\n").records == [
        {"tokens": ["New York", "is"], "labels": ["B-loc", "O"]}
    ]


def test_conll_u_by_its_indices(tmp_path: Path) -> None:
    made = read(tmp_path, CONLL_U)
    assert made.records == [
        {"tokens": ["Zu", "dem", "Haus"], "labels": ["ADP", "DET", "NOUN"]},
        {"tokens": ["#"], "labels": ["SYM"]},
    ]
    assert made.treated == {"ranges of words and empty nodes: skipped": 2}
    assert read(tmp_path, CONLL_U, label="xpos").records[0]["labels"] == ["APPR", "ART", "NN"]
    with pytest.raises(UserError, match=r"no column 'ner'\. Set task\.label to a number from 1 to 10, or"):
        read(tmp_path, CONLL_U, label="ner")


def test_declared_columns_of_conll_u_plus(tmp_path: Path) -> None:
    text = "# global.columns = ID FORM UPOS NER\n1\tParis\tPROPN\tB-LOC\n"
    assert read(tmp_path, text, label="NER").records == [{"tokens": ["Paris"], "labels": ["B-LOC"]}]


def test_germeval_by_its_comments_and_indices(tmp_path: Path) -> None:
    made = read(tmp_path, GERMEVAL)
    assert made.records[1] == {"tokens": ["OGC", "Nizza"], "labels": ["B-ORG", "I-ORG"]}
    assert made.treated == {"labels of inner entities (column 4): not used": 4}
    for label in ("4", "inner"):
        assert read(tmp_path, GERMEVAL, label=label).records[1]["labels"] == ["O", "B-LOC"]


def test_a_token_can_be_a_number_sign_or_one(tmp_path: Path) -> None:
    made = read(tmp_path, "# NN O\n2 CD O\n\n1 CD O\nman NN O\n\n#tag NN O\n")
    assert [record["tokens"] for record in made.records] == [["#", "2"], ["1", "man"], ["#tag"]]


def test_comments_of_plain_columns_are_skipped(tmp_path: Path) -> None:
    assert read(tmp_path, "# id 1 of all\nParis B-loc\n# NN\n").records[0]["tokens"] == ["Paris", "#"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Paris O\nis\n", "line 2: 1 columns, but the first token has 2"),
        ("Paris NNP O\nis O\n", "line 2: 2 columns, but the first token has 3"),
        ("Paris\nis\n", "line 1: a token without a label.*`bertrain predict MODEL FILE`"),
        ("Paris\tO\nis\t\n", "line 2: a token without a label"),
        ("Paris\tO\n\tO\n", "line 2: a line without a token"),
        ("Paris\tO\nis\tNaN\n", "line 2: a token without a label"),
        ("\n\n", "no records"),
    ],
)
def test_uneven_columns_are_refused_with_their_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        read(tmp_path, text)


def test_tokens_without_labels_are_read_for_predictions(tmp_path: Path) -> None:
    assert read(tmp_path, "john\nwent\n\nhome\n", labelled=False).records == [
        {"tokens": ["john", "went"]},
        {"tokens": ["home"]},
    ]
    assert read(tmp_path, "john O\n", labelled=False).records == [{"tokens": ["john"]}]
    counted = "1\tOGC\n2\tNizza\n"  # GermEval's columns without those of the labels
    assert read(tmp_path, counted, labelled=False).records == [{"tokens": ["OGC", "Nizza"]}]
    assert read(tmp_path, counted, label="inner", labelled=False).records == [{"tokens": ["OGC", "Nizza"]}]
    assert read(tmp_path, "1 CD\n2 CD\n").records == [{"tokens": ["1", "2"], "labels": ["CD", "CD"]}]


def test_lists_of_tokens_and_labels(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"tokens": ["a", "b"], "ner_tags": ["B-X", "O"]}, {"tokens": ["c"], "ner_tags": [1]}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    assert read(tmp_path, text).records[1] == {"tokens": ["c"], "labels": ["1"]}
    for bad, words in (
        ({"tokens": ["a"], "ner_tags": []}, "1 tokens but 0 labels"),
        ({"tokens": "a b", "ner_tags": ["O"]}, "no list of tokens"),
        ({"tokens": ["a"], "ner_tags": [None]}, "a token without a label"),
    ):
        with pytest.raises(UserError, match=f"line 3: {words}"):
            read(tmp_path, text + json.dumps(bad) + "\n")
        assert read(tmp_path, text + json.dumps(bad) + "\n", bad_records="drop").dropped.total() == 1
    with pytest.raises(UserError, match="several columns can be the label: ner_tags, pos_tags"):
        read(tmp_path, json.dumps({"tokens": ["a"], "ner_tags": ["O"], "pos_tags": ["DET"]}) + "\n")
