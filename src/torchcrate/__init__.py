"""The sample project: a small network that learns to read handwritten digits.

Replace this package by your own. `python -m torchcrate` trains it;
`python -m torchcrate doctor` looks at the image and the machine that
it runs on.
"""
