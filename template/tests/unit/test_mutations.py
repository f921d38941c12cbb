"""The table of mutations names every test of the contract."""

import ast
import re
import runpy

from template.tests import covered, mutations
from template.tests.common import CONTRACT, TOP
from template.tests.edits import Mutation, together
from torchcrate.testing import system

TABLE = [mutation for found in mutations.STAGES.values() for mutation in found]
# This test needs the real torchvision. Mutations break only images that every machine can build:
# the stubs, and the CPU image, which has no torchvision if PyTorch's index is out of reach.
UNNAMED = {"torch/test_torch_computes.py::test_torchvision_operators"}
# builds/test_extensions.py breaks them.
UNNAMED |= {f"torch/test_extensions.py::test_extensions{more}" for more in ("", "_import")}


def test_all_contract_tests_named():
    tests = {
        f"{file.relative_to(place)}::{node.name}"
        for place in CONTRACT
        for file in place.glob("*/test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    named = {mutation.noticed.partition("[")[0] for mutation in TABLE}
    optional = {mutation.noticed for mutation in mutations.TORCHVISION}
    assert tests - named - UNNAMED <= optional
    assert named <= tests


def test_all_forbidden_files_named():
    forbidden = runpy.run_path(str(CONTRACT[0] / "runtime/test_slim.py"))["FORBIDDEN"]
    said = " ".join(mutation.says for mutation in TABLE)
    assert [what for what in forbidden if f"{what}: [" not in said] == []


def named(table):
    """Return the mutations that a table of covered.py names."""
    return {name for names in table.values() if not isinstance(names, str) for name in names}


def test_all_instructions_covered():
    stage, found = "", set()
    text = (TOP / "Dockerfile").read_text().replace("\\\n", "")
    for name, rest in re.findall(r"^([A-Z]+) (.+)$", text, re.MULTILINE):
        stage = rest.split()[-1] if name == "FROM" else stage
        found.add(f"{stage} {name}")
    assert found == covered.INSTRUCTIONS.keys()
    assert named(covered.INSTRUCTIONS) <= {mutation.broken for mutation in TABLE}


def test_all_fields_covered():
    names = runpy.run_path(str(CONTRACT[0] / "base/test_configuration.py"))
    assert {*names["EACH"], *names["ONE"]} <= covered.FIELDS.keys()
    assert named(covered.FIELDS) <= {mutation.broken for mutation in TABLE}


def test_all_generated_files_covered():
    """Each rule for files that apt's scripts write has a mutation, or does not matter here."""
    rules = system.RULES
    paths = [path.lstrip("/") for path in mutations.WRITTEN]
    kinds = {next(kind for kind in rules if re.fullmatch(kind, path)) for path in paths}
    elsewhere = {pattern for pattern, rule in rules.items() if isinstance(rule, str)}
    assert rules.keys() - kinds - elsewhere == covered.UNSEEN.keys()


def test_shared_images():
    """They are grouped by test, by torch (stub or real) and by what keeps them apart."""

    def mutation(broken, noticed, **more):
        return Mutation(broken, noticed, "", **more)

    table = [
        mutation("a", "test_one"),
        mutation("b", "test_two"),
        mutation("c", "test_one"),
        mutation("d", "test_one", real=True),
        mutation("e", "test_lists"),
        mutation("f", "test_lists"),
        mutation("g", "test_three", apart="it stops"),
        mutation("h", "test_four", apart="it stops"),
        mutation("i", "test_four", apart="it is slow"),
    ]
    images = together(table, {"test_lists"})
    assert ["".join(m.broken for m in image) for image in images] == ["abef", "c", "d", "gh", "i"]


def test_one_image_each():
    for found in mutations.STAGES.values():
        images = together(found, mutations.SEVERAL)
        assert sorted(m.broken for image in images for m in image) == sorted(
            m.broken for m in found
        )
