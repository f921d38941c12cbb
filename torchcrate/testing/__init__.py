"""What the tests of images stand on: a pytest plugin, a reader of layers, and a report."""
