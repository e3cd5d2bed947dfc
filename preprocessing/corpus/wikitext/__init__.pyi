# The door of preprocessing.corpus.wikitext: what preprocessing.corpus imports from it.

from .markup import UnparsableError as UnparsableError
from .page import PageText as PageText, page_text as page_text, plain_text as plain_text
from .site import Site as Site, parse_site as parse_site
