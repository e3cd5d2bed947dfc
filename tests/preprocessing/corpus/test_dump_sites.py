"""Dumps: a hostile page costs one document, and the siteinfo is read."""

from __future__ import annotations

from pathlib import Path

from preprocessing.corpus.dump_sites import site_of
from preprocessing.corpus.wikitext.site import Site
from preprocessing.pipeline import prepare
from tests.preprocessing.corpora import make_documents, small_config

SITEINFO = '<siteinfo><dbname>dewiki</dbname><namespaces><namespace key="6">Datei</namespace></namespaces></siteinfo>'


def write_dump(path: Path, pages: list[str]) -> Path:
    texts = (
        f"<page><ns>0</ns><revision><model>wikitext</model><text>{page}</text></revision></page>" for page in pages
    )
    path.write_text(f"<mediawiki>{SITEINFO}{''.join(texts)}</mediawiki>")
    return path


def test_page_of_unclosed_templates_is_dropped_and_counted(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump.xml", [*make_documents(30), "{{a|" * 40_000])
    corpora = [{"paths": [str(dump)], "format": "wikipedia"}]
    manifest = prepare(small_config(tmp_path / "data", corpora=corpora, held_out_fraction=0.0))
    assert manifest.drops == {"unparsable_wikitext": 1}
    assert manifest.statistics.documents == 30


def test_dump_in_utf_16_is_prepared(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump.xml", make_documents(30))
    dump.write_bytes(dump.read_text().encode("utf-16"))
    corpora = [{"paths": [str(dump)], "format": "wikipedia", "encoding": "utf-16"}]
    manifest = prepare(small_config(tmp_path / "data", corpora=corpora))
    assert manifest.statistics.documents == 30


def test_site_of_a_dump_is_read_from_its_beginning(tmp_path: Path) -> None:
    assert site_of(str(write_dump(tmp_path / "dump.xml", ["Text."]))) == Site("de", frozenset({"datei"}))
