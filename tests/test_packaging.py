"""What an index is told about the package: a page that can be read there."""

from __future__ import annotations

import re
from importlib import metadata
from urllib.parse import urlsplit

import pytest

LINK = re.compile(r"\]\(([^)\s]+)|(?:href|src)=[\"']([^\"']+)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)


@pytest.fixture
def told() -> metadata.PackageMetadata:
    """Return the metadata of the installed package."""
    return metadata.metadata("llama-dashscope")


def test_no_link_on_the_index_is_relative(told: metadata.PackageMetadata) -> None:
    """A page of an index has no folder beside it that a link could lead to."""
    page = str(told.json["description"])
    links = [str(found[found.lastindex or 0]) for found in LINK.finditer(page)]

    assert told["Description-Content-Type"] == "text/markdown"
    assert page.startswith("# llama-dashscope\n")
    assert "pip install llama-dashscope && llama-dashscope chat --local" in page
    assert "in the source distribution, in its folder `docs`" in page
    assert [link for link in links if urlsplit(link).scheme != "https"] == []


def test_it_says_whose_it_is_and_where_to_read_on(told: metadata.PackageMetadata) -> None:
    """Authors, licence, and addresses that are whole."""
    urls = [each.split(", ")[1] for each in told.get_all("Project-URL", [])]

    assert told["Author"] == "The llama-dashscope authors"
    assert told["License-Expression"] == "Apache-2.0"
    assert urls
    assert all(url.startswith("https://") for url in urls)
