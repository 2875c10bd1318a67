"""The report of an ablation: what its arms scored, what their differences are worth, and what is missing."""

from cxrkit.report.ablation.headline import headline
from cxrkit.report.ablation.numbers import Numbers, summarise_ablation
from cxrkit.report.ablation.tables import rich_arms
from cxrkit.report.ablation.write import report_files, write_ablation_report

__all__ = ["Numbers", "headline", "report_files", "rich_arms", "summarise_ablation", "write_ablation_report"]
