"""`python -m xas_live.cli`, for processes that have no program `xas-live` on their path."""

from xas_live.cli import app

app()
