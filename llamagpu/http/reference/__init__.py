"""The pages that explain the API, made from its own description: what the caller may call, group by group.

Swagger UI would be 509 kB of script, more than any page of the portal loads; these pages need none to be
read, follow the theme and the language, and have what is under `fields.py` and `operations.py`.
"""
