"""The table of mutations is complete: it names every test of the contract."""

import ast

import mutations

CONTRACT = mutations.TOP / "tests" / "images" / "contract"
TABLE = [mutation for found in mutations.STAGES.values() for mutation in found]
# torchvision's operators need the real torchvision, and mutations are of images that every machine
# can build: the stubs, and the CPU image, which is without torchvision where PyTorch's index is
# out of reach.
UNNAMED = {"torch/test_torch_computes.py::test_torchvisions_compiled_operators"}


def test_every_test_of_the_contract_is_named():
    tests = {
        f"{file.relative_to(CONTRACT)}::{node.name}"
        for file in CONTRACT.glob("*/test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    named = {mutation.noticed for mutation in TABLE}
    optional = {mutation.noticed for mutation in mutations.TORCHVISION}
    assert tests - named - UNNAMED <= optional
    assert named <= tests


def test_everything_forbidden_in_runtime_is_named():
    text = (CONTRACT / "runtime/test_runtime_is_slim.py").read_text()
    (forbidden,) = (node.value for node in ast.parse(text).body if isinstance(node, ast.Assign))
    said = " ".join(mutation.says for mutation in TABLE)
    assert [what for what in ast.literal_eval(forbidden) if f"{what}: [" not in said] == []
