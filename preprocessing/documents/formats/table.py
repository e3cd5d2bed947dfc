"""The table of corpus formats.

To add a format, write its reader (see `boundaries`), add its record here, and add its name to `format` in
`configs/schema/text.py`, which validates recipes. Measure `text_mb_s` with `python -m tests.benchmarks.formats`.
"""

from __future__ import annotations

from preprocessing.documents.formats.arrow_files import SIDE_FILES, arrow_rows
from preprocessing.documents.formats.boundaries import file_blocks, page_blocks, text_blocks
from preprocessing.documents.formats.csv_rows import csv_rows, tsv_rows
from preprocessing.documents.formats.document_text import text_of_page
from preprocessing.documents.formats.format import Format, in_sections
from preprocessing.documents.formats.json_lines import object_blocks, text_of_object
from preprocessing.documents.formats.parquet import parquet_rows
from preprocessing.documents.formats.web_archives import archive_records
from preprocessing.documents.formats.wikiextractor import article_blocks, text_of_article

# `text_mb_s` of text and jsonl: measured on one core at about 3 GHz, with 64 MB of English Wikipedia. Others: derived
# for the same core from their ratios to `text` (sentences 1.17, files 0.95, wikiextractor 0.94, parquet 0.92), which
# tests.benchmarks.formats measured on 8 MB of the same text. wikipedia: derived from its ratio to `text`, 0.18, on 6 MB
# of wikitext in bzip2, 3 MB of text. csv, tsv, arrow, and warc (HTML pages; WET files read like
# text): derived from the CPU time of reading alone, beside that of `text`, of 8 MB of synthetic text.
FORMATS = {
    "wikipedia": Format(in_sections(page_blocks), 3.0, text_of_page, text_share=0.5, is_wikitext=True),
    "wikiextractor": Format(article_blocks, 16.0, text_of_article, may_hold_surrogates=True),
    "text": Format(in_sections(text_blocks), 17.0, separator="blank lines"),
    "sentences": Format(in_sections(text_blocks), 20.0, lines_are_sentences=True, separator="blank lines"),
    "files": Format(in_sections(file_blocks), 16.0, is_splittable=False),
    "jsonl": Format(in_sections(object_blocks), 17.0, text_of_object, may_hold_surrogates=True),
    "csv": Format(csv_rows, 16.2, is_splittable=False),
    "tsv": Format(tsv_rows, 16.3, is_splittable=False),
    "parquet": Format(parquet_rows, 15.5, is_compressed=True, is_text=False),
    "arrow": Format(arrow_rows, 17.0, is_splittable=False, is_text=False, side_files=SIDE_FILES),
    "warc": Format(archive_records, 3.2, is_splittable=False, is_text=False),
}
