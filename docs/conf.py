"""How Sphinx builds the book from the pages that `book.py` lays out."""

import importlib.metadata

project = "xmodal"
author = "The xmodal contributors"
version = release = importlib.metadata.version("xmodal")
extensions = ["myst_nb", "sphinx-mathjax-offline"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = True
nb_execution_mode = "off"  # notebooks are shown as the batch left them
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]
html_theme = "sphinx_book_theme"
html_title = "Cross-modal embeddings for video and audio retrieval"
html_static_path = ["static"]
html_extra_path = ["../figures/yt8m/explorer.html"]
html_css_files = ["book.css"]
html_js_files = ["book.js"]
html_context = {"default_mode": "auto"}
html_copy_source = False
html_show_search_summary = False  # it would fetch each page, which a browser forbids on disk
html_show_sphinx = False
html_last_updated_fmt = None
html_theme_options = {"navbar_persistent": [], "show_toc_level": 2, "use_download_button": True}
