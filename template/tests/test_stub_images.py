"""Images of stub wheels keep the contract, except what torch has to compute."""

import pytest

pytestmark = pytest.mark.stub

# The lowest number of tests. Both builds have the same base, and with stubs the two Dockerfiles
# differ only in torch.
IMAGES = {
    ("gpu", "base"): 12,
    ("gpu", "runtime"): 65,
    ("gpu", "dev"): 42,
    ("cpu", "runtime"): 6,
    ("debian-13", "base"): 12,
}


@pytest.mark.parametrize("image_kind", IMAGES, ids="-".join)
def test_stub_image(image_kind, stubs_held):
    found = stubs_held[image_kind].result()
    assert {test: said for test, said in found.items() if said} == {}
    assert len(found) >= IMAGES[image_kind], sorted(found)
