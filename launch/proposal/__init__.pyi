# The door of launch.proposal: what other packages and rooms import from it.

from .recipe_text import write_proposal as write_proposal
