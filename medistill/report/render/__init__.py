"""Renderers: a page, a block, a table as HTML, Markdown or CSV. They know every kind of block, and no topic."""
