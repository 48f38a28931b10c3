"""The scripts that `python3 -m course run` starts, in this order; one file of data a homework."""

from course.weeks import hw1, hw2, lab8

SCRIPTS = (*hw1.SCRIPTS, *hw2.SCRIPTS, *lab8.SCRIPTS)
