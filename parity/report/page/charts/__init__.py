"""The charts, as Vega-Lite specifications: what is drawn when the page is made, and again in the browser.

Colours are custom properties of the page's style sheet, so that a chart follows the theme without being drawn
again. Figures are those of the result, to the digits that the page shows.
"""

from parity.report.page.charts.base import Chart, Gettext
from parity.report.page.charts.calls import call_chart
from parity.report.page.charts.losses import difference_chart, loss_charts
from parity.report.page.charts.scatter import scatter_chart
from parity.report.page.charts.ulps import ulp_chart

__all__ = ["Chart", "Gettext", "call_chart", "difference_chart", "loss_charts", "scatter_chart", "ulp_chart"]
