"""Pages of every language keep their text: namespaces, sections, and templates under their own names."""

from __future__ import annotations

from collections import Counter

import pytest

from configs.schema import is_pattern
from preprocessing.corpus.wikitext.languages import _table, facts_of, known_languages
from preprocessing.corpus.wikitext.page import page_text
from preprocessing.corpus.wikitext.site import Site, parse_site

LARGEST = set("ar arz ca ceb de en es fa fr it ja nl pl pt ru sv uk vi war zh".split())  # noqa: SIM905  # it is shorter
UNKNOWN = Site()


@pytest.mark.parametrize("code", known_languages())
def test_files_of_languages_are_complete(code: str) -> None:
    table = _table(code)
    assert {"file", "category", "apparatus", "first", "silent", "templates"} <= set(table)
    assert set(table) <= {
        "file", "category", "apparatus", "first", "silent", "computed", "references", "templates", "months",
        "named",
    }  # fmt: skip
    names = [*table["file"], *table["category"], *table["apparatus"], *table["first"], *table["silent"]]
    names += [
        *table.get("computed", ()),
        *table.get("references", ()),
        *(name for name in table["templates"] if len(name) != 3 or name.islower()),
    ]
    assert all(name == name.lower() and not name.endswith(" ") for name in names)
    assert all(map(is_pattern, table["templates"].values()))
    assert len(table.get("months", ())) in (0, 12)


def test_the_twenty_largest_wikipedias_have_files() -> None:
    assert set(known_languages()) >= LARGEST


@pytest.mark.parametrize(
    ("language", "wikitext", "text"),
    [
        ("fr", "Il s'élève à {{unité|2000|m}}. Né le {{date|17|10|1973}} à Moulins, {{date|17|octobre|1973}}.",
         "Il s'élève à 2000 m. Né le 17 octobre 1973 à Moulins, 17 octobre 1973."),
        ("fr", "La {{1re}} église du {{s-|XII|e}} et du {{XIXe siècle}}, {{nombre|319|tonnes}}, {{Mme}} X, XX{{e}}.",
         "La 1re église du XIIe siècle et du XIXe siècle, 319 tonnes, Mme X, XXe."),
        ("fr", "Il dit {{citation|bonjour}} en {{lang|en|English}}. {{Référence nécessaire|Ce fait}} est vrai.",
         "Il dit « bonjour » en English. Ce fait est vrai."),
        ("es", "El {{fecha|17|10|1973}} del {{siglo|XIX||s}}, a {{unidad|20|km}}.",
         "El 17 de octubre de 1973 del siglo XIX, a 20 km."),
        ("it", "Alto {{M|2000|ul=m}}, nato il {{data|17|10|1973}}.", "Alto 2000 m, nato il 17 ottobre 1973."),
        ("de", "Er ist {{Höhe|2000|DE-NN}} hoch ({{enS|mountain}}), {{\"|Wort}}, {{§|1|BGB}}.",
         "Er ist 2000 m hoch (englisch mountain), „Wort“, § 1 BGB."),
        ("pt", "No {{séc|XX}}, {{fmtn|5000|pessoas}} em {{dtlink|17|10|1973}}.",
         "No século XX, 5000 pessoas em 17 de outubro de 1973."),
        ("ru", "Площадь {{число|200}} {{км²}}, {{s|10 000}} человек.", "Площадь 200 км², 10 000 человек."),
        ("ja", "{{読み仮名|日本|にほん}}は{{仮リンク|国|en|Country}}である。", "日本（にほん）は国である。"),
        ("zh", "他是{{tsl|en|Foo|福}}的{{le|人|Person}}。", "他是福的人。"),
        ("nl", "Op {{datum|17|10|1973}} was {{lang|en|it}} er.", "Op 17 oktober 1973 was it er."),
        ("ca", "Fa {{unitats|20|km}} al {{segle|XX}}.", "Fa 20 km al segle XX."),
        # A mark of doubt around a text leaves the text.
        ("fr", "Il dort {{quand|le soir}}, {{refsou|dit-on}}. Ou {{qui}} non.", "Il dort le soir, dit-on. Ou non."),
        ("it", "Si dice {{cn|che dorma}} sempre.", "Si dice che dorma sempre."),
        ("nl", "Het {{bron?|slaapt|2010|01}} daar.", "Het slaapt daar."),
        ("ru", "Это {{нет АИ 2|верно}} всегда.", "Это верно всегда."),
        ("ja", "{{要出典|範囲=この文|date=2010年}}です。{{独自研究範囲|あれ}}も。", "この文です。あれも。"),
        ("en", "{{audio|x.ogg|Alabama}} ({{Audio|y.ogg|listen}}) is.", "Alabama is."),
        ("en", "It {{citation needed span|sleeps|date=May 2010}} {{color|red|well}} here.", "It sleeps well here."),
        # A link to a page that another wiki holds shows its label, else its name.
        ("fr", "Il prend {{lien|langue=en|trad=Bar|fr=Foo|texte=le foo}} et {{lien|Baz}}.", "Il prend le foo et Baz."),
        ("ru", "Это {{нп5|Иван (царь)|Иван|en|Ivan}} и {{нп5|Пётр||en|Peter}}.", "Это Иван и Пётр."),
        ("pl", "Słowo {{j|en|hello}} i {{lang|en|word}}.", "Słowo hello i word."),
        ("pt", "O {{lknb|Luís|XIV}} paga {{R$|100}}.", "O Luís XIV paga R$ 100."),
        ("fr", "Le {{1er|janvier}} à {{euros|5}}.", "Le 1er janvier à 5 €."),
        ("es", "Va a {{ESP}} con 5{{esp}}km del {{siglo|V|a}}.", "Va a España con 5 km del V a. C.."),
        ("en", "{{USD|5}} on {{birth date|1850|5|12}}, HA {{eqm}} H.", "US$5 on May 12, 1850, HA ⇌ H."),
    ],
)  # fmt: skip
def test_templates_show_words_in_their_language(language: str, wikitext: str, text: str) -> None:
    assert page_text(wikitext, Site(language)).text == text
    assert page_text(wikitext, UNKNOWN, language=language).text == text


def test_dump_that_does_not_state_its_language_is_read_by_the_facts_of_all() -> None:
    page = "Il est vers {{unité|1000|m}} d'altitude, en {{date|17|octobre|1973}}. La {{1re}} église du {{s-|XII|e}}."
    assert page_text(page, UNKNOWN).text == (
        "Il est vers 1000 m d'altitude, en 17 octobre 1973. La 1re église du XIIe siècle."
    )


@pytest.mark.parametrize(
    ("heading", "language"),
    [
        ("Einzelnachweise", "de"), ("Références", "fr"), ("Voir aussi", "fr"), ("Källor", "sv"), ("Bronnen", "nl"),
        ("Enlaces externos", "es"), ("Примечания", "ru"), ("Collegamenti esterni", "it"), ("Przypisy", "pl"),
        ("Mga kasarigan", "war"), ("المصادر", "arz"), ("脚注", "ja"), ("参考文献", "zh"), ("Liên kết ngoài", "vi"),
        ("Примітки", "uk"), ("وصلات خارجية", "ar"), ("Ligações externas", "pt"), ("پانویس", "fa"),
        ("Referències", "ca"), ("External links", "en"),
    ],
)  # fmt: skip
def test_reference_sections_are_omitted_under_their_names(heading: str, language: str) -> None:
    page = f"Lead.\n== Text ==\nWords.\n== {heading} ==\n* [[X]]"
    assert page_text(page, Site(language)).text == "Lead.\nText\nWords."
    assert page_text(page, UNKNOWN).text == "Lead.\nText\nWords."


def test_only_files_categories_and_other_languages_are_hidden() -> None:
    page = (
        "[[Stó:lō]]\n\n[[Star Trek: Picard]]\n\n[[Mission: Impossible|Mission]]\n\n"
        "[[Kategorie:Dorf]] [[Kategorie:Fluss]]\n"
        "[[Bild:name without suffix|mini|text]]\n[[de:Hund]]\n[[zh-min-nan:X]]\n[[:de:Katze]]\n"
        "[[Datei:x|mini|[[a]] b]] End."
    )
    assert page_text(page, UNKNOWN).text.split("\n") == [
        "Stó:lō", "Star Trek: Picard", "Mission", "de:Katze", "End.",
    ]  # fmt: skip


def test_siteinfo_states_language_and_namespaces() -> None:
    head = (
        "<siteinfo><sitename>X</sitename><dbname>zh_min_nanwiki</dbname><namespaces>"
        '<namespace key="-2" case="first-letter">Mûi-thé</namespace><namespace key="0" case="first-letter" />'
        '<namespace key="6" case="first-letter">tóng-àn</namespace>'
        '<namespace key="14" case="first-letter">L&amp;ūi-pia̍t</namespace></namespaces></siteinfo>'
    )
    site = parse_site(head)
    assert site == Site("zh-min-nan", frozenset({"mûi-thé", "tóng-àn"}), frozenset({"l&ūi-pia̍t"}))
    assert page_text("A [[Tóng-àn:x|y]][[L&amp;ūi-pia̍t:z]] b", site).text == "A b"
    assert parse_site("<mediawiki>") == UNKNOWN


@pytest.mark.parametrize(
    ("wikitext", "text", "counts"),
    [
        # A template that is not known leaves its text if it has a single argument.
        ("It is {{odd|blue}} now. Yes.", "It is blue now. Yes.", {"unknown_template_text": 1}),
        # If not, it takes the sentence with it, or the brackets.
        ("First. It is {{odd|a|b}} km long. Yes.", "First. Yes.", {"sentence_with_unknown_template": 1}),
        ("It is {{odd}}. Yes.", "Yes.", {"sentence_with_unknown_template": 1}),
        ("It ({{odd|a|b}} high) is. Yes.", "It is. Yes.", {"brackets_with_unknown_template": 1}),
        ("It (born 1900; {{odd|a|b}}) is. Yes.", "It (born 1900) is. Yes.", {}),
        # Boxes, notes, and decorations are not part of a sentence.
        ("{{Odd\n| a = b\n}}\nit is.", "it is.", {}),
        ("It is.{{odd|a|b}} Yes{{odd|3}}, no{{odd}}.", "It is. Yes, no.", {}),
        ("{{odd|a|b}} It is.\n* {{odd|USA}}", "It is.", {}),
        ("他很{{未知|1|2}}好。是的。", "是的。", {"sentence_with_unknown_template": 1}),
        ("L'{{odd|a|b}} è. Sì.", "Sì.", {"sentence_with_unknown_template": 1}),
        # Behind a number or a percent sign, it can be a unit; behind a word, only a bare number is a note.
        ("It is 100{{odd|km}} long. Yes.", "Yes.", {"sentence_with_unknown_template": 1}),
        ("It is 100{{odd}} long. Yes.", "Yes.", {"sentence_with_unknown_template": 1}),
        ("It is 10{{odd|6}} long. Yes.", "Yes.", {"sentence_with_unknown_template": 1}),
        ("In the XX{{odd|th}} year. Yes.", "Yes.", {"sentence_with_unknown_template": 1}),
        ("It (about 100{{odd|km}}) is. Yes.", "It is. Yes.", {"brackets_with_unknown_template": 1}),
        # At the end of a line, it is a decoration, unless the line promises more.
        (
            "* An item {{odd|a|b}}\n* Height: {{odd|5|m}}\n* Fine",
            "An item\nFine",
            {"sentence_with_unknown_template": 1},
        ),
        # Without blanks between words, a template with a text is no note at the end of a word.
        ("价格是{{未知|一百}}，好。", "价格是一百，好。", {"unknown_template_text": 1}),
        # Coordinates in the text, and what a template computes, are text that is not known.
        ("First. It fell at {{Coord|13|19|N}}, in the sea. Yes.", "First. Yes.", {"sentence_with_unknown_template": 1}),
        ("It fell {{coord|13|19|N|display=title}} down.", "It fell down.", {}),
        ("He is {{age|1950|1|1}} years old. Yes.", "Yes.", {"sentence_with_unknown_template": 1}),
    ],
)
def test_unknown_template_leaves_no_hole(wikitext: str, text: str, counts: dict[str, int]) -> None:
    page = page_text(wikitext, Site("zh" if "。" in wikitext else "en"))
    assert page.text == text
    assert +page.counts == Counter(counts)


@pytest.mark.parametrize(
    ("language", "wikitext", "text"),
    [
        ("de", "In {{Literatur|Titel=B}} schreibt er. Er schreibt {{Literatur|Titel=B}}. Ja.", "Ja."),
        ("de", "Er schreibt.{{Literatur|Titel=B}} Ja ({{Literatur|Titel=B}}), ja.\n* {{Literatur|Titel=B}}",
         "Er schreibt. Ja, ja."),
        ("de", "Siehe {{Internetquelle|url=x}} und {{ISBN|978}}. Ja.", "Ja."),
        ("en", "As in {{cite book|title=T}}, it is. Per {{citation|title=T}} no. See {{harvnb|A|1990}} too. Yes.",
         "Yes."),
        ("en", "It is so.{{cite web|url=x}} It is{{sfn|A|1990}} {{citation needed|date=2010}} well. {{ISBN|1}}",
         "It is so. It is well."),
        ("en", "As {{harvp|A|B|1990}} says.", "As A & B (1990) says."),
        ("fr", "Dans {{ouvrage|titre=T}}, il dit. Selon {{harvsp|A|1990}}, non. Oui.", "Oui."),
        ("es", "En {{cita libro|título=T}} dice. Dice {{cita|bien}}. Sí.", "Dice «bien». Sí."),
        ("it", "In {{cita|Rossi}} dice. In {{cita libro|titolo=T}} parla. Sì.", "Sì."),
        ("ru", "В книге {{книга|автор=А}} он пишет. Да.", "Да."),
        ("uk", "У книзі {{книга|автор=А}} він пише. Так.", "Так."),
        ("nl", "In {{citeer boek|titel=T}} staat het. Ja.", "Ja."),
        ("pl", "W {{cytuj książkę|tytuł=T}} pisze. Tak.", "Tak."),
        ("pt", "Em {{citar livro|título=T}} diz. Sim.", "Sim."),
        ("sv", "I {{bokref|titel=T}} finns mer. Ja.", "Ja."),
        ("bg", "В {{цитат книга|автор=А}} пише. Да.", "Да."),
        ("zh", "他在{{cite book|title=T}}說。是的。", "是的。"),
        ("xx", "In {{cite book|title=T}} it is. Yes.", "Yes."),
    ],
)  # fmt: skip
def test_a_source_in_a_sentence_leaves_no_hole(language: str, wikitext: str, text: str) -> None:
    assert page_text(wikitext, Site(language)).text == text


def test_no_note_of_a_language_hides_a_source() -> None:
    """A name without * among those that show nothing comes first, also in a dump without siteinfo."""
    facts = facts_of(("en", *known_languages()))
    silent = [name for code in known_languages() for name in _table(code)["silent"] if not name.endswith("*")]
    assert [name for name in silent if facts.computes(name)] == []


def test_coordinates_of_the_german_wiki_are_in_the_text_if_they_say_so() -> None:
    for arguments, text in (("NS=1|EW=2", "Er liegt hier. Ja."), ("text=DMS|NS=1", "Ja.")):
        assert page_text(f"Er liegt {{{{Coordinate|{arguments}}}}} hier. Ja.", Site("de")).text == text


def test_stated_language_of_a_corpus_keeps_other_languages_out() -> None:
    assert page_text("Родился {{date|12|5|1850}} утром. Да {{DEU}} там. Ой.", UNKNOWN, language="ru").text == "Ой."


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("6|ft|4|in|cm|0", "6 ft 4 in"), ("1|st|2|lb|3|oz", "1 st 2 lb 3 oz"), ("5|km|mi|0", "5 km"),
        ("24|C|0", "24 C"), ("5|by|7|by|9|m|ft", "5 by 7 by 9 m"), ("1|+|1/2|in", "1 + 1/2 in"),
        ("5|to(-)|7|km|mi|1", "5 to 7 km"),
    ],
)  # fmt: skip
def test_quantities_keep_all_their_numbers(arguments: str, text: str) -> None:
    assert page_text(f"It is {{{{convert|{arguments}|abbr=on}}}} long.", Site("en")).text == f"It is {text} long."


def test_plural_chooses_the_word() -> None:
    assert page_text("{{plural:5|dog|dogs}} and {{plural:1|cat|cats}}, {{plural:3|sheep}}", Site("en")).text == (
        "dogs and cat, sheep"
    )


def test_recipe_says_what_templates_show() -> None:
    templates = {"odd": "{1}[ {2}][ ({unit/3})]", "convert": "", "mois": "{1:month}"}
    page = page_text("It is {{Odd|5|km|u}}, {{odd|5}}{{convert|a|b}}, {{odd|unit=x}}.", UNKNOWN, templates)
    assert page.text == "It is 5 km (u), 5, (x)."


def test_facts_of_earlier_languages_win() -> None:
    assert facts_of(("fr", "en")).shown("citation", {"1": "a"}) == "« a »"
    assert facts_of(("en", "fr")).shown("citation", {"1": "a"}) == "« a »"  # English names it only by a beginning
    assert facts_of(("en", "fr")).shown("cite web", {"1": "a"}) is None
    assert facts_of(("en", "fr")).shown("citation needed", {"1": "a"}) == ""
    assert facts_of(("xx",)).shown("citation", {"1": "a"}) is None
