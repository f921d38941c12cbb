"""The index and the certificates come from this machine's configuration."""

import urllib.error

import pytest

from torchcrate import host

HELP = "  -i, --index-url <url>  Base URL of the Python Package Index (default\n   https://d.example/simple)."


@pytest.fixture
def pip(monkeypatch):
    monkeypatch.delenv("INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)

    def says(config):
        monkeypatch.setattr(
            host, "pip", lambda command, *_: config if command == "config" else HELP
        )

    return says


def no_page(monkeypatch, error):
    def urlopen(url, timeout):
        assert url == "https://d.example/pypi/pip/25.0/json"
        raise error

    monkeypatch.setattr(host.urllib.request, "urlopen", urlopen)


@pytest.mark.parametrize("section", ["global", "install"])
def test_pips_own_index(pip, section):
    pip(f"global.cert='/x'\n{section}.index-url='https://mirror.example/simple'\n")
    assert host.index_url() == "https://mirror.example/simple"


def test_extra_index(pip, monkeypatch):
    pip("global.extra-index-url='https://mirror.example/simple'\n")
    no_page(monkeypatch, OSError())
    assert host.index_url() == ""


def test_what_comes_first(pip, monkeypatch):
    pip(
        "global.index-url='https://global.example/'\ninstall.index-url='https://install.example/'\n"
    )
    assert host.index_url() == "https://install.example/"
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.example/")
    assert host.index_url() == "https://pip.example/"
    monkeypatch.setenv("INDEX_URL", "https://mine.example/")
    assert host.index_url() == "https://mine.example/"


def test_index_without_json_pages(pip, monkeypatch):
    pip("")
    no_page(monkeypatch, urllib.error.HTTPError("u", 404, "no", {}, None))
    assert host.index_url() == "https://d.example/simple"


def test_no_network(pip, monkeypatch):
    pip("")
    no_page(monkeypatch, urllib.error.URLError("no network"))
    assert host.index_url() == ""


def test_certificates(tmp_path, monkeypatch):
    file = tmp_path / "ca.pem"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    assert host.ca_bundle() != file
    file.touch()
    assert host.ca_bundle() == file
