"""The report of measurements: tables, figures, one HTML page, a block for a model card, a table for the terminal.

Everything is made from results alone (``results.BiasResult``): no model, no audio, no network.
"""

from speechbias.report.files import ReportFiles, tabulated, write_report
from speechbias.report.paper_figures import write_figure1, write_figure2, write_figure3, write_tradeoff
from speechbias.report.students import student_pairs
from speechbias.report.table4 import write_table4
from speechbias.report.terminal import terminal_table

__all__ = [
    "ReportFiles",
    "student_pairs",
    "tabulated",
    "terminal_table",
    "write_figure1",
    "write_figure2",
    "write_figure3",
    "write_report",
    "write_table4",
    "write_tradeoff",
]
