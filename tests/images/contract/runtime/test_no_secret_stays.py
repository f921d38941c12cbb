"""No secret that the build was handed, or that lies about in the project, gets into the image.

Each has a canary in it: the CA bundle, the netrc, the environment; with stub wheels also .env,
.netrc and .git of the project.
"""

import pytest


def test_no_canary(contents, request, seen):
    """No build secret, no environment, .env, netrc or .git is in a layer or the history."""
    option = request.config.getoption
    if option("--image") and not option("--stub"):
        pytest.skip("the image that --image names was not built with these tests' secrets")
    assert not contents.canaries, f"a secret is in {contents.canaries[:5]}"
    seen(f"searched {sum(len(layer.entries) for layer in contents.layers)} entries, all metadata")
