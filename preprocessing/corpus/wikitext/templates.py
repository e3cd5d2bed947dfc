"""The running text that templates and parser functions show."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from configs.schema import fill_pattern
from preprocessing.corpus.wikitext.gaps import gap, without_marks
from preprocessing.corpus.wikitext.languages import LanguageFacts

_PREFIXES = ("template:", "msg:", "subst:", "safesubst:")
_BETWEEN_QUANTITIES = frozenset({"to", "to about", "-", "–", "and", "or", "by", "x", "xx", "×", "*", "+", "±", "+/-"})
_NUMBER = re.compile(r"[-−+]?[\d.,]*\d(?:[+⁄/\d.,e-]*\d)?")
# Labels of recordings that are no words of the text, in English and in wikis with many recordings.
_LISTEN = frozenset(
    {"listen", "play", "audio", "pronunciation", "pronounced", "anhören", "aussprache", "écouter", "prononciation"}
    | {"escuchar", "ascolta", "ouvir", "слушать"}
)
_MOST_OF_A_FALLBACK = 200  # characters


@dataclass(frozen=True)
class Templates:
    """What the templates of a page show: by the recipe, by the facts of languages, and by rules for all wikis."""

    facts: LanguageFacts
    of_recipe: Mapping[str, str]  # name in lower case -> pattern

    def show(self, raw_name: str, arguments: dict[str, str], spans_lines: bool) -> str:
        """Return the text of a template, or the mark of an unknown one. `arguments` are rendered."""
        name = " ".join(without_marks(raw_name).replace("_", " ").split())
        while name.lower().startswith(_PREFIXES):
            name = name.partition(":")[2].lstrip()
        lower = name.lower()
        if gap() in raw_name:
            return gap()  # a function of a value that is not known
        if (pattern := self.of_recipe.get(lower)) is not None:
            return fill_pattern(pattern, arguments)
        if lower in _COMPOSED:
            shown = [arguments[str(place)] for place in range(1, len(arguments) + 1) if str(place) in arguments]
            return _COMPOSED[lower](shown, arguments)
        if lower.startswith("coord"):
            return gap() if _shows_coordinates(lower, arguments) else ""
        if (text := self.facts.shown(name, arguments)) is not None:
            return text
        if self.facts.computes(name):
            return gap()
        if lower.startswith("lang-"):
            return arguments.get("1", "")
        if ":" in name:
            return _function(name, arguments)
        return gap() if spans_lines else _fallback(arguments)


def _fallback(arguments: Mapping[str, str]) -> str:
    """Return the mark of an unknown template. It leaves its argument, if it has one that can be running text."""
    values = [value for value in arguments.values() if value]
    is_text = len(values) == 1 and arguments.get("1") and len(values[0]) <= _MOST_OF_A_FALLBACK
    return gap(values[0] if is_text and "\n" not in values[0] else "")


def _function(name: str, arguments: Mapping[str, str]) -> str:
    """Return the text of a parser function, whose first argument follows the colon in its name."""
    function, _, first = name.partition(":")
    function, first = function.lower().strip(" #"), first.strip()
    second, third = arguments.get("1", ""), arguments.get("2", "")
    match function:
        case "formatnum" | "dateformat" | "formatdate" | "nf":
            return first
        case "plural":
            return second if first == "1" else third or second
        case "lc":
            return first.lower()
        case "uc":
            return first.upper()
        case "lcfirst":
            return first[:1].lower() + first[1:]
        case "ucfirst":
            return first[:1].upper() + first[1:]
        case "if":
            return second if first else third
        case "ifeq":
            return third if first == second else arguments.get("3", "")
        case "switch":
            return arguments.get(first.lower(), arguments.get("#default", ""))
    return gap()


def _as_of(shown: list[str], arguments: Mapping[str, str]) -> str:
    return " ".join(["as of" if "lc" in arguments else "As of", *shown[:1]])


def _recording(shown: list[str], _arguments: Mapping[str, str]) -> str:
    """`Bach.ogg|Bach` shows Bach, which can be a word of the sentence."""
    return " ".join(label for label in shown[1:2] if label.lower() not in _LISTEN)


def _author_and_year(shown: list[str], _arguments: Mapping[str, str]) -> str:
    """`Smith|Jones|1990` shows Smith & Jones (1990)."""
    *authors, year = shown or [""]
    return f"{' & '.join([', '.join(authors[:-1]), authors[-1]] if len(authors) > 1 else authors)} ({year})"


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
    """`5|km|mi` shows 5 km, `5|to|7|km|mi` shows 5 to 7 km, and `6|ft|4|in|cm` shows 6 ft 4 in."""
    parts = [re.sub(r"\([^()]*\)$", "", part) for part in shown]
    size = 2
    while len(parts) > size + 1 and (parts[size - 1] in _BETWEEN_QUANTITIES or _is_quantity(parts[size : size + 2])):
        size += 2
    return " ".join(parts[:size])


def _is_quantity(parts: list[str]) -> bool:
    """Return whether the parts are a number and its unit."""
    number, unit = parts
    return _NUMBER.fullmatch(number) is not None and _NUMBER.fullmatch(unit) is None and unit != ""


def _shows_coordinates(name: str, arguments: Mapping[str, str]) -> bool:
    """Return whether a template of coordinates shows them in the text, and not only beside the page's title."""
    if name == "coordinate":  # the German template
        return "text" in arguments
    display = arguments.get("display", "inline")
    return "inline" in display or display == "it"


def _value(shown: list[str], arguments: Mapping[str, str]) -> str:
    exponent = f"×10{arguments['e']}" if "e" in arguments else ""
    return " ".join(filter(None, ["".join(shown[:1]) + exponent, arguments.get("u") or arguments.get("ul")]))


_COMPOSED: dict[str, Callable[[list[str], Mapping[str, str]], str]] = {
    "as of": _as_of,
    "audio": _recording,
    "chem": _formula,
    "conversion": _quantity,
    "convert": _quantity,
    "converter": _quantity,
    "convertir": _quantity,
    "cvt": _quantity,
    "frac": _fraction,
    "harvcoltxt": _author_and_year,
    "harvp": _author_and_year,
    "harvtxt": _author_and_year,
    "ipa": _phonetic,
    "nihongo": _japanese,
    "sfrac": _fraction,
    "val": _value,
}
