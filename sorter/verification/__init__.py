"""Is everything in the archive that the index says, as it was stored, and nothing else? And mending it."""

from sorter.verification.background import Verifier
from sorter.verification.findings import Finding, Findings, Mend, Wrong
from sorter.verification.reached import resumable
from sorter.verification.repair import Repair, Repaired
from sorter.verification.report import Options, Report
from sorter.verification.survey import Survey

__all__ = [
    "Finding",
    "Findings",
    "Mend",
    "Options",
    "Repair",
    "Repaired",
    "Report",
    "Survey",
    "Verifier",
    "Wrong",
    "resumable",
]
