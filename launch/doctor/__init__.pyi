# The door of launch.doctor: what other packages and rooms import from it.

from .doctor import show_findings as show_findings
