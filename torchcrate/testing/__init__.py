"""For the tests of images: a pytest plugin, a reader of layers, and a report."""
