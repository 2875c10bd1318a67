"""What a run leaves for its reader: tables, curves, and films with their structures drawn on them."""

from cxrkit.report.overlay import draw_overlay
from cxrkit.report.panels import Panel, choose_panels
from cxrkit.report.summary import Summary, summarise
from cxrkit.report.tables import markdown_table, remarks, rich_table
from cxrkit.report.write import write_report

__all__ = [
    "Panel",
    "Summary",
    "choose_panels",
    "draw_overlay",
    "markdown_table",
    "remarks",
    "rich_table",
    "summarise",
    "write_report",
]
