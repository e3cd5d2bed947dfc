"""A task's data before training: sizes, the table of labels, and what makes the metrics mean less than they seem to."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

from rich.table import Table

from configs.transfer import FinetuneConfig, TaskConfig
from launch.terminal import console, plain_table
from preprocessing.vocabulary import Vocabulary
from pretrain.huggingface import Pretrained
from pretrain.transfer import (
    FEW_TEST_RECORDS,
    SECOND_TEST,
    LabelSet,
    Splits,
    TaskItems,
    about_unknown,
    contradictions,
    count_unknown,
    make_task,
    read_splits,
    shared_texts,
    sizes,
)

MOST_LABELS = 40  # rows of the table


def open_task(task: TaskConfig, settings: FinetuneConfig, source: Pretrained) -> TaskItems:
    """Read and tokenise a task's records, and print how many there are, their labels, and what to know about them."""
    splits = read_splits(task)
    data = TaskItems.of(make_task(task, settings, source.vocabulary, splits), splits)
    show_data(task, data)
    for warning in (*warnings_of(task, data), *_about_words(data, source.vocabulary)):
        console().print(f"warning: {warning}", markup=False)
    return data


def show_data(task: TaskConfig, data: TaskItems) -> None:
    """Print the sizes of the parts, and the table of labels with counts."""
    say, counted = console().print, sizes(data)
    for place, of_file in counted.pop("files").items():
        for cause, count in of_file["dropped"].items():
            say(f"{place}: {count:,} of {of_file['records']:,} records dropped: {cause}", markup=False)
    columns = data.splits.training.columns
    if columns:
        used = [*columns, data.splits.training.label_column] if data.splits.training.label_column else columns
        say(f"{task.name}: columns {', '.join(map(repr, used))}", markup=False)
    for name, part in counted.items():
        say(f"{task.name}: {part['records']:,} records for {name}", markup=False)
        for cause, count in part["treated"].items():
            say(f"    {count:,} {cause}", markup=False)
    console().print(label_table(task, data.splits))


def label_table(task: TaskConfig, splits: Splits) -> Table:
    """Return the labels of each part with their counts; for numbers, their range and mean."""
    parts = splits.parts()
    table = plain_table("label", *parts, justify="right")
    if task.regression:
        for name, measure in (("lowest", min), ("mean", fmean), ("highest", max)):
            values = [measure([record["label"] for record in part.records]) for part in parts.values()]
            table.add_row(name, *(f"{value:g}" for value in values))
        return table
    labels = labels_of(task, splits)
    total = {name: sum(of_part[name] for of_part in labels.counts.values()) for name in labels.names}
    shown = labels.names if len(total) <= MOST_LABELS else sorted(total, key=lambda name: -total[name])[:MOST_LABELS]
    for name in shown:
        table.add_row(name.replace("[", r"\["), *(f"{labels.counts[part][name]:,}" for part in parts))
    if len(shown) < len(total):
        table.add_row(f"and {len(total) - len(shown):,} more", *[""] * len(parts))
    return table


def labels_of(task: TaskConfig, splits: Splits) -> LabelSet:
    """Return the labels of a task's parts; for questions, whether they have an answer."""
    if task.kind != "qa":
        return splits.labels()
    named = {
        name: [{"label": "answer" if record["possible"] else "no answer"} for record in part.records]
        for name, part in splits.parts().items()
    }
    return LabelSet.of_labels(named)


def warnings_of(task: TaskConfig, data: TaskItems) -> Iterator[str]:
    """Yield what makes a result mean less than it seems to."""
    splits = data.splits
    if len(splits.test) < FEW_TEST_RECORDS:
        yield f"only {len(splits.test)} test records: one record is {1 / len(splits.test):.1%} of a metric"
    for cause, count in shared_texts(splits).items():
        yield f"{count:,} {cause}"
    if task.regression or task.kind in ("qa", "choice"):
        return
    if task.kind != "tag":
        twice = sum(contradictions(part) for part in splits.parts().values())
        if twice:
            yield f"{twice:,} texts have several different labels"
    yield from _about_labels(splits.labels(), is_text=task.kind != "tag")


def _about_words(data: TaskItems, vocabulary: Vocabulary) -> Iterator[str]:
    parts = {"training": data.training, "validation": data.validation, "test": data.test, SECOND_TEST: data.second_test}
    for name, items in parts.items():
        warning = about_unknown(*count_unknown((row for item in items for row in item.rows), vocabulary))
        if warning:
            yield f"{name}: {warning}"


def _about_labels(labels: LabelSet, *, is_text: bool) -> Iterator[str]:
    missing = labels.missing("training")
    if missing:
        yield f"not in training, though in validation or test: {', '.join(missing[:10])}"
    if labels.alike():
        yield f"labels that differ in upper and lower case only: {', '.join(labels.alike()[:10])}"
    if not is_text:
        return
    if "-1" in labels.names and {"0", "1"} <= set(labels.names):
        yield "-1 is a class here; it is also the usual sign for a hidden label (task.label names another column)"
    if any("." in name and name.replace(".", "").lstrip("+-").isdigit() for name in labels.names):
        yield "labels with decimals are classes here; set task.regression=true if they are quantities"
