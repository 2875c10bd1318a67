"""What a run leaves for its reader: tables, curves, and films with their structures drawn on them."""

from cxrkit.report.overlay import draw_overlay
from cxrkit.report.panels import Panel, at_full_size, choose_panels, of_store
from cxrkit.report.summary import Summary, summarise
from cxrkit.report.tables import common_notes, remarks, rich_tables, score_sections, side_by_side
from cxrkit.report.write import write_comparison, write_report

__all__ = [
    "Panel",
    "Summary",
    "at_full_size",
    "choose_panels",
    "common_notes",
    "draw_overlay",
    "of_store",
    "remarks",
    "rich_tables",
    "score_sections",
    "side_by_side",
    "summarise",
    "write_comparison",
    "write_report",
]
