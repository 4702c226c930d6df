"""The report page: a check as one HTML file."""

from parity.report.page.page import render_page, write_page

__all__ = ["render_page", "write_page"]
