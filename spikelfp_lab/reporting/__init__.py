"""The report on one's own recordings: is distillation worth it there?"""

from spikelfp_lab.reporting.report import Report, report

__all__ = ["Report", "report"]
