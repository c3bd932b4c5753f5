"""The report page: one HTML file with tables, figures, generations, findings and provenance, from records alone.

``render_page`` needs no network and no model; the page needs none either. Charts are drawn in the browser by Observable
Plot and D3, which are part of the page (``vendor/``, with their licences).
"""

from bench.page.render import render_page

__all__ = ["render_page"]
