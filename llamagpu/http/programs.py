"""Which addresses are for programs: they speak JSON and English, whoever asks."""

_API = ("/api/", "/v1/", "/metrics")
_OTHERS = ("/static/", "/livez", "/readyz")
# Pages that stand beside the calls that they explain.
_PAGES = ("/api/docs/", "/api/v1/docs/")


def is_api(path: str) -> bool:
    """Whether it is called with a key of one's own."""
    return path.startswith(_API) and not path.startswith(_PAGES)


def is_for_programs(path: str) -> bool:
    """Of all others a browser expects pages, in the language that its user has chosen."""
    return is_api(path) or path.startswith(_OTHERS)
