"""No secret of the build or of the project gets into the image.

Each secret has a canary in it: the CA bundle, the netrc, the environment; with stub wheels also
.env, .netrc and .git of the project.
"""

import pytest


def test_no_canary(contents, request, seen):
    """Layers and history have no secret of the build, its environment, .env, netrc or .git."""
    option = request.config.getoption
    if not option("--canaries"):
        pytest.skip("this image was not built with the tests' secrets: `./crate test` does that")
    assert not contents.canaries, f"a secret is in {contents.canaries[:5]}"
    seen(f"searched {sum(len(layer.entries) for layer in contents.layers)} entries, all metadata")
