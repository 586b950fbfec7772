"""Sphinx's settings: Markdown pages, a reference made from the docstrings."""

import re
import sys
from importlib import import_module, metadata

from docutils.nodes import Element, TextElement
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.pycode import ModuleAnalyzer

import llama_dashscope

# Before autodoc does, which imports with TYPE_CHECKING set: that sends LlamaIndex in circles.
import_module("llama_dashscope.llamaindex")

project = "llama-dashscope"
author = "the llama-dashscope authors"
project_copyright = f"2026, {author}"
release = metadata.version("llama-dashscope")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "examples"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"{project} {release}"

autodoc_member_order = "bysource"

nitpick_ignore_regex = [
    # Other projects' names are only named, since the build needs no network.
    ("py:.*", r"(?!llama_dashscope\b).*"),
    # What a fault or an answer turns into on its way to the wire is the local server's own affair.
    ("py:class", r"llama_dashscope\.testing\._service\.response_plan\.(BodyPart|ResponsePlan)"),
    # A type variable is explained by the class that has it.
    ("py:class", r"llama_dashscope\._client\.(parsing|structured_call)\.T"),
    ("py:class", r"llama_dashscope\._client\.streams\.Item"),
    # How a handler gets its client is FastAPI's affair; what it gets is in the text.
    ("py:class", r"llama_dashscope\.fastapi\._application\._until_disconnect"),
]


def read_docstring(
    _app: Sphinx, what: str, name: str, _thing: object, _options: object, lines: list[str]
) -> None:
    """Read a docstring as it is written: Google's sections, Markdown's backticks.

    Fields have no sections; napoleon would take the words before a colon for the field's type.
    """
    if what == "data":
        lines[:] = find_words_below(name)
    text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", "\n".join(lines))
    lines[:] = text.split("\n")
    if what not in {"attribute", "data", "property"}:
        lines[:] = GoogleDocstring(lines).lines()


def return_to_modules() -> None:
    """Have each public class name the module that it stands in: its fields' docstrings are there.

    The package makes its classes name the package.
    """
    for name in llama_dashscope.__all__:
        thing = getattr(llama_dashscope, name)
        if isinstance(thing, type):
            thing.__module__ = next(
                module
                for module in sorted(sys.modules)
                if module.startswith("llama_dashscope.")
                if name in ModuleAnalyzer.for_module(module).find_tags()
            )


def find_words_below(name: str) -> list[str]:
    """Return the docstring below a constant, which stands in the module that defines it."""
    package, _, constant = name.rpartition(".")
    for module in sorted(each for each in sys.modules if each.startswith(f"{package}.")):
        words = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", constant))
        if words:
            return words
    raise LookupError(f"{name} has no docstring")


def find_public(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: TextElement
) -> Element | None:
    """Lead a name that a signature takes from a private module to where it is public."""
    target = re.sub(r"\.(_\w+|compat)(\.[a-z_0-9]+)*(?=\.)", "", node["reftarget"])
    if target == node["reftarget"]:
        return None
    return env.domains["py"].resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], target, node, content
    )


def setup(app: Sphinx) -> None:
    """Register what the settings above can't say."""
    return_to_modules()
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("missing-reference", find_public)
