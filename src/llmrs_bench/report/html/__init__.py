"""A board as one self-contained web page: charts, groups, and sampled requests with their prompts and answers."""

from llmrs_bench.report.html.page import to_html
from llmrs_bench.report.html.site import SiteBoard, site_html
from llmrs_bench.report.html.values import Call, Extra, Ranked, Sampled, Title

__all__ = ["Call", "Extra", "Ranked", "Sampled", "SiteBoard", "Title", "site_html", "to_html"]
