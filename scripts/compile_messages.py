"""Compiles locale/*/LC_MESSAGES/django.po, which people edit.

To the .mo beside it, which Django reads; and what scripts say to static/llamagpu/words/, which
pages in that language load.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parents[1]
_WORD = re.compile(r'translate\(\s*"((?:[^"\\]|\\.)*)"')


def words_of_scripts() -> set[str]:
    """What the modules of the pages mark as words."""
    return {
        json.loads(f'"{word}"')
        for module in ROOT.glob("static/*/js/**/*.js")
        for word in _WORD.findall(module.read_text(encoding="utf-8"))
    }


def script_of(words: dict[str, str]) -> str:
    text = json.dumps(words, ensure_ascii=False, indent=1, sort_keys=True)
    return f"// Made by `make messages`.\nglobalThis.pageWords = {text};\n"


def main() -> None:
    marked = words_of_scripts()
    for source in sorted(ROOT.glob("locale/*/LC_MESSAGES/django.po")):
        language = source.parts[-3]
        with source.open("rb") as written:
            catalog = read_po(written, locale=language)
        with source.with_suffix(".mo").open("wb") as compiled:
            write_mo(compiled, catalog)
        known = {str(word.id): str(word.string) for word in catalog if word.id in marked}
        path = ROOT / "static" / "llamagpu" / "words" / f"{language}.js"
        path.parent.mkdir(exist_ok=True)
        path.write_text(script_of(known), encoding="utf-8")


if __name__ == "__main__":
    main()
