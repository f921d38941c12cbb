"""The sample's tests need torch, so they run inside the `dev` image and not on the host."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("torch") else ["sample"]
