"""How figures are written in each language of the pages."""
