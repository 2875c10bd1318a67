"""The report of an ablation: what its arms scored, what their differences are worth, and what is missing."""

from cxrkit.report.ablation.caveats import all_caveats
from cxrkit.report.ablation.headline import headline
from cxrkit.report.ablation.numbers import Numbers, summarise_ablation
from cxrkit.report.ablation.tables import seeds_table
from cxrkit.report.ablation.write import write_ablation_report

__all__ = [
    "Numbers",
    "all_caveats",
    "headline",
    "seeds_table",
    "summarise_ablation",
    "write_ablation_report",
]
