"""`./crate run` chooses a build for this machine, and refuses what cannot work."""

from collections import namedtuple

import pytest

from torchcrate import build, engine, host

GIB = 2**30


@pytest.fixture
def machine(monkeypatch):
    """Return a function that pretends to be on a machine."""
    monkeypatch.delenv("BUILD", raising=False)
    monkeypatch.delenv("WHEELS", raising=False)
    monkeypatch.delenv("TORCH_INDEX_URL", raising=False)
    monkeypatch.setattr(build, "builds", lambda: ["cpu", "cu130"])

    def pretend(gpu, index):
        monkeypatch.setattr(engine, "quiet", lambda command, *_: "GPU 0" if gpu else None)
        monkeypatch.setattr(host, "answers", lambda url: index and url.endswith("/cpu/torch/"))

    return pretend


@pytest.mark.parametrize(
    "gpu, index, chosen, why",
    [
        (True, True, "cu130", "this machine has an NVIDIA GPU"),
        (False, True, "cpu", "no NVIDIA GPU"),
        (False, False, "cu130", "runs on the CPU too"),
    ],
)
def test_what_fits_the_machine(machine, capsys, gpu, index, chosen, why):
    machine(gpu, index)
    assert build.choose_build() == chosen
    assert why in capsys.readouterr().out


def test_build_says(machine, monkeypatch):
    machine(gpu=True, index=True)
    monkeypatch.setenv("BUILD", "cpu")
    assert build.choose_build() == "cpu"


def test_build_without_lock(machine, monkeypatch):
    monkeypatch.setenv("BUILD", "cu999")
    with pytest.raises(
        SystemExit,
        match=r"ERROR: --build cu999 has no lock locks/torch.cu999.txt \(there are: cpu, cu130\): "
        "make it with `./crate lock --build cu999`",
    ):
        build.choose_build()


@pytest.mark.parametrize("free, stops", [(2 * GIB, True), (100 * GIB, False)])
def test_disk_space(monkeypatch, tmp_path, free, stops):
    answers = {"image": None, "info": str(tmp_path)}
    monkeypatch.setattr(engine, "quiet", lambda command, *_: answers[command[1]])
    usage = namedtuple("usage", "free")(free)
    monkeypatch.setattr(build.shutil, "disk_usage", lambda path: usage)
    if stops:
        with pytest.raises(SystemExit, match=r"2.0 GB free, and .* GPU image writes up to 10 GB"):
            build.check_disk({}, "gpu", "tag")
    else:
        build.check_disk({}, "gpu", "tag")


def test_default_build():
    assert build.default_gpu_build() in build.builds()


def test_mirror_is_asked(monkeypatch):
    monkeypatch.setenv("TORCH_INDEX_URL", "https://mirror.example/whl/")
    monkeypatch.setattr(host, "answers", lambda url: url == "https://mirror.example/whl/cpu/torch/")
    assert build.torch_index_answers("cpu")


def test_default_index_is_not_asked(monkeypatch):
    monkeypatch.setattr(host, "answers", lambda url: False)
    assert build.torch_index_answers(build.default_gpu_build())


@pytest.mark.parametrize("name", ["INDEX_URL", "TORCH_INDEX_URL", "APT_MIRROR", "PPA_URL"])
def test_password_in_address(monkeypatch, capsys, name):
    monkeypatch.setattr(build, "check_disk", lambda *_: None)
    monkeypatch.setenv(name, "https://me:secret@mirror.example/")
    with pytest.raises(SystemExit, match=f"ERROR: {name} .* NETRC=") as stopped:
        build.build({}, "cpu", dev=False)
    assert "secret" not in str(stopped.value) + capsys.readouterr().out


def test_dev_options(monkeypatch, tmp_path):
    for name in ("ca.crt", "netrc"):
        (tmp_path / name).write_text("text")
    monkeypatch.setattr(host, "index_url", lambda: "https://mirror.example/simple")
    monkeypatch.setattr(host, "ca_bundle", lambda: tmp_path / "ca.crt")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("TORCH_INDEX_URL", "https://mirror.example/whl")
    (tmp_path / "Dockerfile").write_text("COPY mine /layers/1/app/src/mine\n")
    options = " ".join(build.dev_options(tmp_path))
    assert f"--volume {tmp_path}:/workspace --volume {tmp_path}/mine:/app/src/mine " in options
    for name in ("POETRY_PYPI_MIRROR_URL", "UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        assert f"--env {name}=https://mirror.example/simple" in options
    assert "--env TORCH_INDEX_URL " in f"{options} "
    bundle = f"{tmp_path}/.tools/ca-certificates.crt"
    assert f"--volume {bundle}:/etc/ssl/certs/ca-certificates.crt:ro" in options
    assert f"--volume {tmp_path}/netrc:/tmp/.netrc:ro" in options


def test_cache_options(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    options = " ".join(build.cache_options())
    assert f"--volume {tmp_path}/torchcrate:/cache --env XDG_CACHE_HOME=/cache" in options
    assert options.endswith("--env HF_TOKEN")  # no value: processes list it
    assert (tmp_path / "torchcrate").is_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(build.Path, "home", lambda: tmp_path)
    assert f"--volume {tmp_path}/.cache/torchcrate:/cache" in " ".join(build.cache_options())


def test_missing_netrc(monkeypatch):
    monkeypatch.setenv("NETRC", "/nowhere/netrc")
    with pytest.raises(SystemExit, match="ERROR: NETRC=/nowhere/netrc does not exist"):
        build.given()
