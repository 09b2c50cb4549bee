"""Figures as in English: they stand in fields and attributes too, where a comma is none."""

DECIMAL_SEPARATOR = "."
THOUSAND_SEPARATOR = ","
