"""The running text that MediaWiki templates show, for the templates of the English Wikipedia that format words.

All other templates (boxes, notes, citations, navigation) show nothing. Names are in lower case, with blanks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

# Templates that show one of their arguments, and its number (-1: the last).
_SHOWN_ARGUMENT = {
    "abbr": 1, "angbr": 1, "big": 1, "chem2": 1, "em": 1, "flag": 1, "hebrew": 1, "ill": 1, "key press": 1,
    "keypress": 1, "lang": 2, "langx": 2, "large": 1, "larger": 1, "linktext": 1, "math": 1, "midsize": 1, "mono": 1,
    "mvar": 1, "nastaliq": 1, "nobold": 1, "nobr": 1, "noitalic": 1, "not a typo": 1, "nowrap": 1, "nq": 1,
    "resize": -1, "rtl-lang": 2, "sc": 1, "script": 2, "sic": 1, "small": 1, "smallcaps": 1, "smaller": 1, "strong": 1,
    "sub": 1, "sup": 1, "tooltip": 1, "transl": -1, "transliteration": -1, "tt": 1, "vanchor": 1, "var": 1,
    "visible anchor": 1, "vr": 1,
}  # fmt: skip
# Templates that show a few characters.
_SHOWN_TEXT = {
    "'": "'", "'s": "'s", "\"": '"', "' \"": "'\"", "\" '": "\"'", "-\"": '"', "=": "=", "--": "—", "·": " · ",
    "c.": "c. ", "circa": "c. ", "dot": " · ", "em dash": "—", "en dash": "–", "mdash": "—", "mdashb": " — ",
    "nbsp": " ", "ndash": "–", "snd": " – ", "spaced en dash": " – ", "spaced ndash": " – ", "spaces": " ",
    "thinsp": " ",
}  # fmt: skip
_SHIPS = frozenset({"hmas", "hmcs", "hms", "hnoms", "mv", "ms", "rms", "ss", "uscgc", "uss"})
_BLOCKS = frozenset({"blockquote", "cquote", "poem quote", "poemquote", "quotation", "quote"})
_BETWEEN_QUANTITIES = frozenset({"to", "-", "–", "and", "or", "by", "x", "×"})


def template_text(name: str, arguments: Mapping[str, str]) -> str:
    """Return the text that a template shows. `arguments` are rendered; unnamed ones are named "1", "2" and so on."""
    shown = [arguments[str(place)] for place in range(1, len(arguments) + 1) if str(place) in arguments]
    if name in _SHOWN_TEXT:
        return _SHOWN_TEXT[name] + "".join(shown[:1] if name in ("c.", "circa") else [])
    if name in _BLOCKS:
        text = next(filter(None, (arguments.get(key) for key in ("text", "quote", "1"))), "")
        return f"\n\n{text}\n\n"
    if name in _SHIPS:
        return f"{name.upper()} {shown[0]}" if shown else ""
    if name.startswith("formatnum:"):
        return name.removeprefix("formatnum:").strip()
    if name in _COMPOSED:
        return _COMPOSED[name](shown, arguments)
    which = 1 if name.startswith("lang-") else _SHOWN_ARGUMENT.get(name)
    if which is None or not shown:
        return ""
    return shown[-1] if which == -1 or which > len(shown) else shown[which - 1]


def _as_of(shown: list[str], arguments: Mapping[str, str]) -> str:
    return " ".join(["as of" if "lc" in arguments else "As of", *shown[:1]])


def _author_and_year(shown: list[str], _arguments: Mapping[str, str]) -> str:
    """`Smith|Jones|1990` shows Smith & Jones (1990)."""
    *authors, year = shown or [""]
    return f"{' & '.join([', '.join(authors[:-1]), authors[-1]] if len(authors) > 1 else authors)} ({year})"


def _chapter_and_verse(shown: list[str], _arguments: Mapping[str, str]) -> str:
    return " ".join(shown[:2])


def _formula(shown: list[str], _arguments: Mapping[str, str]) -> str:
    return "".join(shown)


def _fraction(shown: list[str], _arguments: Mapping[str, str]) -> str:
    return {0: "", 1: "1/"}.get(len(shown), " ".join(shown[:-2]) + " ") + "/".join(shown[-2:])


def _japanese(shown: list[str], _arguments: Mapping[str, str]) -> str:
    """`art of fencing|剣術|kenjutsu` shows art of fencing (剣術, kenjutsu)."""
    word, *origin = [part for part in shown[:3] if part] or [""]
    return f"{word} ({', '.join(origin)})" if origin else word


def _phonetic(shown: list[str], _arguments: Mapping[str, str]) -> str:
    return shown[0] if len(shown) == 1 else ""  # with a language, the template gives a title's pronunciation


def _quantity(shown: list[str], _arguments: Mapping[str, str]) -> str:
    """`5|km|mi` shows 5 km, and `5|to|7|km|mi` shows 5 to 7 km."""
    size = 4 if len(shown) > 3 and shown[1] in _BETWEEN_QUANTITIES else 2
    return " ".join(shown[:size])


def _value(shown: list[str], arguments: Mapping[str, str]) -> str:
    exponent = f"×10{arguments['e']}" if "e" in arguments else ""
    return " ".join(filter(None, ["".join(shown[:1]) + exponent, arguments.get("u") or arguments.get("ul")]))


_COMPOSED: dict[str, Callable[[list[str], Mapping[str, str]], str]] = {
    "as of": _as_of,
    "bibleref": _chapter_and_verse,
    "bibleverse": _chapter_and_verse,
    "chem": _formula,
    "convert": _quantity,
    "cvt": _quantity,
    "frac": _fraction,
    "harvtxt": _author_and_year,
    "ipa": _phonetic,
    "nihongo": _japanese,
    "oldstyledate": _chapter_and_verse,
    "sfrac": _fraction,
    "val": _value,
}
