"""Says on top of a report and a model card what has changed since they were written."""

from html import escape

TITLE = "Calibrated anew"


def report_with_notice(page: str, notice: str) -> str:
    """A report with the notice before its first heading, and no earlier notice."""
    before, main, after = page.partition("<main>\n")
    opened, closed = '<p class="notes" id="notice">', "</p>\n"
    if after.startswith(opened):
        after = after.partition(closed)[2]
    return f"{before}{main}{opened}{escape(notice)}{closed}{after}"


def card_with_notice(card: str, title: str, notice: str) -> str:
    """A model card with a new title and the notice below it, in place of any earlier notice."""
    rest = card.partition("\n\n")[2]
    if rest.startswith(f"## {TITLE}\n\n"):
        rest = rest.split("\n\n", 2)[2]
    return f"{title}\n\n## {TITLE}\n\n{notice}\n\n{rest}"
