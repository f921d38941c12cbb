"""The sample project: a small network that learns to read handwritten digits.

Replace this package with your own. `python -m digits` trains it.
"""
