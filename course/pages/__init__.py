"""Tables and prose of the homeworks' pages, made from kept results in two languages; one file a homework."""

from course.pages import hw1, hw2, lab8

TABLES = {**hw1.TABLES, **hw2.TABLES, **lab8.TABLES}
"""By the name in a page's `<!-- table: NAME -->`."""
FIGURES = (hw2.draw_outcomes,)
"""Each draws a figure from several kept results: a function of the repository's folder."""
