"""First meetings with a method, each a script of one page: `course notebook SCRIPT --one-page`.

What they import by name from a homework, or from common/, the notebook has in full.
"""
