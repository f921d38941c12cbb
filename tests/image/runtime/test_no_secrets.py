"""No secret that the build was handed, or that lies about in the project, gets into the image.

Each has a canary in it: the CA bundle, the netrc, the environment; with stub wheels also .env,
.netrc and .git of the project.
"""

import pytest


def test_no_canary(contents, request, seen):
    """No build secret, no environment, .env, netrc or .git is in a layer or the history."""
    option = request.config.getoption
    if not option("--canaries"):
        pytest.skip("this image was not built with the tests' secrets: `./crate test` does that")
    assert not contents.canaries, f"a secret is in {contents.canaries[:5]}"
    seen(f"searched {sum(len(layer.entries) for layer in contents.layers)} entries, all metadata")
