# The door of pretrain.transfer.tasks: what other packages and rooms import from it.

from .answering import Answering as Answering
from .choice import Choice as Choice
from .classification import (
    Classification as Classification,
    MultiLabel as MultiLabel,
    balanced_weights as balanced_weights,
)
from .regression import Regression as Regression
from .rows import (
    TokenRow as TokenRow,
    about_unknown as about_unknown,
    batch_of as batch_of,
    count_unknown as count_unknown,
)
from .tagging import Tagging as Tagging
from .task import (
    Answers as Answers,
    Item as Item,
    Predictions as Predictions,
    Task as Task,
    TransferModel as TransferModel,
    joined as joined,
)
