# The door of launch.commands: what other packages and rooms import from it.

from .curves import add_curves_commands as add_curves_commands
from .data import add_data_commands as add_data_commands
from .jobs import add_jobs_commands as add_jobs_commands
from .training import add_training_commands as add_training_commands
from .transfer import add_transfer_commands as add_transfer_commands
