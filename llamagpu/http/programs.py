"""Which addresses are for programs: they speak JSON and English, whoever asks."""

_PROGRAMS = ("/api/", "/v1/", "/metrics", "/static/", "/livez", "/readyz")
# Pages that stand beside the calls that they explain.
_PAGES = ("/api/docs/", "/api/v1/docs/")


def is_for_programs(path: str) -> bool:
    """Of all others a browser expects pages, in the language that its user has chosen."""
    return path.startswith(_PROGRAMS) and not path.startswith(_PAGES)
