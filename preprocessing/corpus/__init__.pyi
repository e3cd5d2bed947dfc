# The door of preprocessing.corpus: what other packages and rooms import from it.

from .cleaned_files import is_cleaned as is_cleaned, with_parts as with_parts, write_cleaned as write_cleaned
from .cleaning import Dropped as Dropped, Kept as Kept, batches as batches
from .corpus import read_corpus as read_corpus
from .cuts import cut_evenly as cut_evenly
from .decisions import (
    begin_comparison as begin_comparison,
    check_decisions as check_decisions,
    decisions_digest as decisions_digest,
    end_comparison as end_comparison,
    is_decided as is_decided,
    read_boilerplate as read_boilerplate,
)
from .evaluation_text import with_evaluation_digest as with_evaluation_digest
from .sample import (
    is_sampled as is_sampled,
    read_entries as read_entries,
    sampled_lines as sampled_lines,
    sampling_rate as sampling_rate,
    write_sample as write_sample,
)
from .working_files import (
    FINISHED_FILES as FINISHED_FILES,
    is_cleaned_file as is_cleaned_file,
    is_corpus_wide as is_corpus_wide,
)
