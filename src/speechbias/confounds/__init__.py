"""Confounds: what else differs between the groups of a test, and what is left of d without it.

An audit says for each set how long, fast, high, loud, noisy its clips are, and how far the sets lie apart in that;
``regression`` and ``matching`` give d with such covariates held equal, ``crop`` clips of one length. Nobody's
recordings are to blame for a flag: it says that d cannot tell the group from what goes along with it in these clips.
"""

from speechbias.confounds.audit import KIND, Audit, audit_test, identify
from speechbias.confounds.clips import describe_clip, describe_clips, measured_names
from speechbias.confounds.covariates import BY_NAME, COVARIATES, THRESHOLD, Covariate
from speechbias.confounds.crop import Cropped, middle
from speechbias.confounds.praat import EXTRA, is_installed

__all__ = [
    "BY_NAME",
    "COVARIATES",
    "EXTRA",
    "KIND",
    "THRESHOLD",
    "Audit",
    "Covariate",
    "Cropped",
    "audit_test",
    "describe_clip",
    "describe_clips",
    "identify",
    "is_installed",
    "measured_names",
    "middle",
]
