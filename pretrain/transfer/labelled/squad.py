"""Questions on contexts: SQuAD's JSON (1.1 and 2.0), and tables with `question`, `context` and `answers`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from configs.errors import UserError
from pretrain.transfer.labelled.records import HOW_TO_PREDICT, Records
from pretrain.transfer.tables import (
    STATE,
    Table,
    is_columnar,
    open_content,
    parse,
    place_of,
    read_saved_dataset,
    refuse_folder,
    table_of,
    text_lines,
)

Question = tuple[str, dict[str, Any]]  # the context, and the question as SQuAD writes it


def read_squad(path: Path, *, labelled: bool = True) -> Records:
    """Read questions as `id`, `question`, `context`, `answers` (`text`, `start`), `possible`.

    An answer that is not at its offset is moved to its nearest occurrence in the context. An answer that does not occur
    is dropped, and so is a question left without answers. All are counted.
    """
    made = Records(place_of(path))
    try:
        for context, question in _questions(path):
            _add_question(made, context, question, labelled=labelled)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        cause = f"not in SQuAD's form: {type(error).__name__} {error}"
        raise UserError(cause, place=made.place, fix="write data → paragraphs → qas → answers") from error
    return made.not_empty()


def _questions(path: Path) -> Iterator[Question]:
    """Yield the questions of SQuAD's JSON or, as `datasets` publishes it, of a table."""
    if (path / STATE).is_file():
        yield from _of_table(read_saved_dataset(path))
        return
    refuse_folder(path)
    with open_content(path) as stream:
        if is_columnar(stream.peek(8)):
            yield from _of_table(table_of(stream, place_of(path)))
        else:
            yield from _of_text("\n".join(text_lines(stream, place_of(path))))


def _of_table(table: Table) -> Iterator[Question]:
    return ((row.values["context"], row.values) for row in table.rows)


def _of_text(text: str) -> Iterator[Question]:
    first = text.lstrip().partition("\n")[0].strip()
    if first.startswith("{") and '"context"' in first and '"paragraphs"' not in first and first.endswith("}"):
        for line in text.splitlines():
            if line.strip():
                row = parse(line)
                yield row["context"], row
        return
    content = parse(text)
    if isinstance(content, list):
        yield from ((row["context"], row) for row in content)
        return
    for article in content["data"]:
        for paragraph in article.get("paragraphs", [article]):
            for question in paragraph.get("qas", [paragraph]):
                yield paragraph["context"], question


def _add_question(made: Records, context: str, question: dict[str, Any], *, labelled: bool) -> None:
    record = {"id": str(question["id"]), "question": question["question"], "context": context}
    if not labelled:
        made.records.append(record)
        made.rows.append(record)
        return
    if question.get("answers") is None and not question.get("is_impossible", False):
        cause = f"the question {record['id']!r} has no `answers`"
        raise UserError(cause, place=made.place, fix=f"give its answers; {HOW_TO_PREDICT}")
    answers = _usable_answers(made, context, _listed(question.get("answers") or []))
    possible = not question.get("is_impossible", not question.get("answers") or not _listed(question["answers"]))
    if possible and not answers:
        made.dropped["questions without a usable answer"] += 1
        return
    made.records.append(record | {"answers": answers if possible else [], "possible": possible})


def _listed(answers: Any) -> list[dict[str, Any]]:
    """Return answers as a list of objects; `datasets` writes one object of lists."""
    if not isinstance(answers, dict):
        return list(answers)
    texts, starts = answers["text"], answers["answer_start"]
    return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]


def _usable_answers(made: Records, context: str, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answers = []
    for answer in given:
        text, start = answer["text"], answer["answer_start"]
        places = _places(context, text)
        if not places:
            made.treated["answers that are not in their context: dropped"] += 1
        elif context[start : start + len(text)] == text:
            answers.append({"text": text, "start": start})
        else:
            made.treated["answers not at their offset: moved to the nearest place"] += 1
            answers.append({"text": text, "start": min(places, key=lambda place: abs(place - start))})
    return answers


def _places(context: str, text: str) -> list[int]:
    return [start for start in range(len(context)) if text and context.startswith(text, start)]
