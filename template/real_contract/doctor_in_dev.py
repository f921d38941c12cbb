"""The doctor finds what is wrong, names the remedy, and exits with 1."""

import os
import shutil
from collections import namedtuple

import doctor
import pytest
import torch

from digits import train


def levels(check):
    return [level for level, _, _ in check()]


def test_remedies(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(doctor, "driver_cuda", lambda: None)
    for check in doctor.CHECKS:
        for level, found, remedy in check():
            assert found
            assert bool(remedy) == (level != doctor.OK)


@pytest.mark.parametrize(
    "build, driver, level, words",
    [
        ("13.0", None, doctor.PROBLEM, "no NVIDIA driver"),
        ("13.0", 12080, doctor.PROBLEM, "too old for this build's CUDA 13.0"),
        ("12.6", 12020, doctor.OK, "up to CUDA 12.2"),
        ("12.6", 13000, doctor.OK, "up to CUDA 13.0"),
    ],
)
def test_driver(monkeypatch, build, driver, level, words):
    monkeypatch.setattr(torch.version, "cuda", build)
    monkeypatch.setattr(doctor, "driver_cuda", lambda: driver)
    first = next(doctor.gpu())
    assert first[0] == level
    assert words in first[1]


def test_cpu_build(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert list(doctor.gpu()) == []


@pytest.mark.parametrize("megabytes, level", [(64, doctor.NOTE), (8192, doctor.OK)])
def test_shared_memory(monkeypatch, megabytes, level):
    usage = namedtuple("usage", "total")(megabytes * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert levels(doctor.shared_memory) == [level]


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, os.cpu_count()),
        ({"cpu.max": "max 100000\n"}, os.cpu_count()),
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, os.cpu_count()),
        ({"cpu/cpu.cfs_quota_us": "10000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_cpu_limit(monkeypatch, tmp_path, files, cpus):
    """The doctor and the sample read the same limit."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert train.cpu_limit(tmp_path) == cpus
    monkeypatch.setattr(doctor, "CGROUP", tmp_path)
    monkeypatch.setattr(torch, "get_num_threads", lambda: cpus + 1)
    ((level, found, remedy),) = doctor.threads()
    assert level == doctor.NOTE
    assert found.endswith(f"may use {cpus} CPU(s)")
    assert f"OMP_NUM_THREADS={cpus}" in remedy


def test_unwritable_caches(monkeypatch):
    monkeypatch.setattr(doctor, "can_write", lambda folder: False)
    assert set(levels(doctor.caches)) == {doctor.PROBLEM}


def test_no_compiler(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert levels(doctor.compiler) == [doctor.NOTE]


def test_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "CHECKS", (lambda: iter([(doctor.NOTE, "a", "b")]),))
    assert doctor.main() == 0
    monkeypatch.setattr(doctor, "CHECKS", (lambda: iter([(doctor.PROBLEM, "a", "b")]),))
    assert doctor.main() == 1
    assert "1 problem(s)" in capsys.readouterr().out
