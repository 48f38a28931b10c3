"""Tables and prose of the homeworks' pages, made from kept results in two languages."""

from course.weeks import homework_modules

_PAGES = homework_modules(__name__, __path__, parts=True)
TABLES = {name: table for page in _PAGES for name, table in getattr(page, "TABLES", {}).items()}
"""By the name in a page's `<!-- table: NAME -->`."""
FIGURES = tuple(draw for page in _PAGES for draw in getattr(page, "FIGURES", ()))
"""Each draws a figure from several kept results: a function of the repository's folder."""
