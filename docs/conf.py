"""Sphinx's settings: Markdown pages, a reference made from the docstrings."""

from importlib.metadata import version

project = "llama-dashscope"
author = "The llama-dashscope authors"
project_copyright = f"2026, {author}"
release = version("llama-dashscope")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "examples"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"{project} {release}"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

# Every reference to this package must lead somewhere; other projects' names are only named, since
# the build needs no network.
nitpick_ignore_regex = [("py:.*", r"(?!llama_dashscope\b).*")]
