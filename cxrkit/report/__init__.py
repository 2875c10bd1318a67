"""What a run leaves for its reader: tables, curves, and films with their structures drawn on them."""

from cxrkit.report.overlay import draw_overlay
from cxrkit.report.panels import Panel, choose_panels
from cxrkit.report.summary import Summary, summarise
from cxrkit.report.tables import remarks, rich_tables, score_sections
from cxrkit.report.write import write_report

__all__ = [
    "Panel",
    "Summary",
    "choose_panels",
    "draw_overlay",
    "remarks",
    "rich_tables",
    "score_sections",
    "summarise",
    "write_report",
]
