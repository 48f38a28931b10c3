"""One test per numbered equation of the theory pages: python -m pytest theory/checks"""
