"""The paper's statements (Sections 3 and 4), each with its test: effect, interval, verdict, and what that is over.

An interval over stimuli says how far other clips of such speakers would move an effect, of these models; it says
nothing of other training runs. What is over training runs takes several models or draws of weights.
"""

from speechbias.reproduce.findings import architecture, compression, conclusion, steps, utility
from speechbias.reproduce.findings.evidence import Evidence
from speechbias.reproduce.findings.finding import Finding, Says

__all__ = ["Evidence", "Finding", "Says", "find_all"]


def find_all(evidence: Evidence) -> list[Finding]:
    """Every statement, in the paper's order."""
    parts = (architecture, steps, utility, compression, conclusion)
    return sorted((found for part in parts for found in part.findings(evidence)), key=lambda found: found.section)
