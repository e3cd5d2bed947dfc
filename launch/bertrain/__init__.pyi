# The public API. Other modules of this folder may change with any version.

from .checks import inspect as inspect, verify as verify
from .dataset import Dataset as Dataset, prepare as prepare
from .distribution import __version__ as __version__
from .pretrained import export as export, load_pretrained as load_pretrained
from .recipes import Recipe as Recipe, UserError as UserError, load_recipe as load_recipe
from .rows import Row as Row, RowSequence as RowSequence
from .runs import Training as Training, TrainingError as TrainingError, plan as plan, train as train
from .vocabularies import Vocabulary as Vocabulary
