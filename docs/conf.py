"""The documentation site. Its sources are Markdown pages, notebooks and docstrings, read from the
repository's root, so that every link is the one that works on GitHub. `make docs` builds it."""

from pathlib import Path

import spikelfp_lab

ROOT = Path(__file__).resolve().parent.parent

project, author, release = "spikelfp_lab", "the authors of spikelfp_lab", spikelfp_lab.__version__
version, html_title, root_doc = release, project, "docs/index"
extensions = [
    *("sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.viewcode"),
    *("numpydoc", "myst_nb", "sphinx_design"),
]
# fmt: off
include_patterns = ["docs/**", "notebooks/*", "benchmarks/README.md", "CONTRIBUTING.md",
                    "CHANGELOG.md"]
exclude_patterns = [".*", "build", "runs", "spikelfp_lab", "tests", "**/.ipynb_checkpoints",
                    "docs/notebooks", "docs/_templates", "benchmarks/results"]
# fmt: on

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say them, with shapes and units
# scikit-learn's own, whose docstrings refer to its own pages
routed = ",".join(f"set_{what}_request" for what in ("fit", "predict", "score"))
autodoc_default_options = {"exclude-members": routed}
autodoc_member_order, toc_object_entries_show_parents = "bysource", "hide"
numpydoc_show_class_members = False
templates_path = [str(ROOT / "docs" / "_templates")]

html_theme = "pydata_sphinx_theme"
html_static_path, html_css_files, html_extra_path = ["_static"], ["site.css"], ["_root"]
html_show_sourcelink = html_copy_source = False
alone = ["docs/index", "docs/start", "docs/method", "CONTRIBUTING", "CHANGELOG"]
html_sidebars = {page: [] for page in alone}
html_favicon, html_context = "_static/icon.svg", {"default_mode": "light"}
html_theme_options = {
    "logo": {"text": project},
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "footer_end": [],
}


def executed(app, docname: str, source: list[str]) -> None:
    """The copy of a notebook with its outputs, where there is one, in place of the stripped one."""
    copy = ROOT / "docs" / f"{docname}.ipynb"
    if docname.startswith("notebooks/") and copy.exists():
        app.env.note_dependency(str(copy))
        source[0] = copy.read_text()


def elsewhere(app, env, node, content):
    """Link a name that a docstring says without its module."""
    if node.get("refdomain") == "py" and node["reftype"] != "mod":
        place, target = node["refdoc"], node["reftarget"]
        node["refspecific"] = True
        python = env.get_domain("py")
        return python.resolve_xref(env, place, app.builder, node["reftype"], target, node, content)


def setup(app) -> None:
    app.connect("source-read", executed)
    app.connect("missing-reference", elsewhere)
