"""Loaded by pytest before Django reads its settings: a data directory of the tests' own.

The built-in model is used where it lies, in the project's data directory: `make setup` put it there.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[1]
DATA_DIR = Path(tempfile.mkdtemp(prefix="llamagpu-tests-"))
MODEL_ROOT = PROJECT_ROOT / "var" / "models"

# Where the tests run on PostgreSQL: `tests.postgres` sets it.
_database_url = os.environ.get("LLAMAGPU_TEST_DATABASE_URL")

for name in [name for name in os.environ if name.startswith("LLAMA_")]:
    del os.environ[name]
for name in ("DATABASE_URL", "REDIS_URL", "DJANGO_SECRET_KEY", "DJANGO_ALLOWED_HOSTS"):
    os.environ.pop(name, None)
if _database_url:
    os.environ["DATABASE_URL"] = _database_url
os.environ["LLAMA_DATA_DIR"] = str(DATA_DIR)
os.environ["LLAMA_MODEL_PATH"] = str(MODEL_ROOT)

atexit.register(shutil.rmtree, DATA_DIR, ignore_errors=True)
