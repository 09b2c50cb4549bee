"""The version of this project; pyproject.toml and CHANGELOG.md carry the same one (a test compares)."""

VERSION = "0.1.0"
