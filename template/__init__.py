"""About the template itself: gone from every project, and torchcrate never imports it."""
