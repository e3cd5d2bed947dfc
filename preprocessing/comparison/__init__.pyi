# The door of preprocessing.comparison: what other packages and rooms import from it.

from .compared import Comparison as Comparison, Visit as Visit
from .fingerprints import (
    fingerprint as fingerprint,
    fingerprint_schema as fingerprint_schema,
    line_hashes as line_hashes,
)
from .layout import Layout as Layout, Source as Source, lay_out as lay_out
from .lines import read_found_lines as read_found_lines
from .minhash import require_datasketch as require_datasketch
from .sealed_files import (
    damaged as damaged,
    open_sealed as open_sealed,
    read_array as read_array,
    write_array as write_array,
    write_sealed as write_sealed,
)
from .steps import ComparisonStep as ComparisonStep, comparison_steps as comparison_steps
from .verdicts import CAUSES as CAUSES, forget_drops as forget_drops
from .words import Hashes as Hashes, is_among as is_among, run_hashes as run_hashes, word_hashes as word_hashes
