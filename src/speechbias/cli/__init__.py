"""The command line: one verb per station, each a thin call into the package.

Exit codes: 0 done; 2 the user's input is wrong (short message: what, where, remedy; no traceback); 1 anything else.
Heavy modules are imported inside the verbs, so that ``--help`` answers at once.
"""

# In the order of --help.
from speechbias.cli import demo, measuring, comparing, planning, stimuli, confounds, reporting, reproducing  # noqa: F401, I001
from speechbias.cli import explaining, grouping, training, probing, removal, models  # noqa: F401
from speechbias.cli.app import app
from speechbias.cli.running import main, spread

__all__ = ["app", "main", "spread"]
