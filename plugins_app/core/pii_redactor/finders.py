"""Finds personal data by its form. Every expression is bounded and has one way to match."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

#: From and to which character.
Span = tuple[int, int]

_EMAIL = re.compile(
    r"(?<![\w.%+-])[A-Za-z0-9_%+-][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"
)
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}")
_CARD_RUN = re.compile(r"(?<![\w.])[0-9](?:[ -]?[0-9]){12,63}(?!\w)")
_IPV4 = re.compile(r"(?<![\w.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?!\.?\w)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{4,39}(?![\w:])")
_PHONE = re.compile(
    r"(?<![\w.])(?:(?:\+|00)[0-9][0-9 ()./-]{6,20}[0-9]"
    # Without a country's number, not in the middle of other digits.
    r"|(?<![0-9][ ./-])(?:\(?0[0-9]{1,4}\)?[ /-]?[0-9][0-9 /-]{4,12}[0-9]"
    r"|\(?[0-9]{3}\)?[ .-][0-9]{3}[ .-][0-9]{4}))(?!\w)"
)
_GROUP = re.compile(r"[0-9]+")
# Of an IBAN, country and check digits included (ISO 13616).
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22,
    "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28,
    "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23,
    "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20, "LV": 21,
    "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15,
    "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24,
    "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26, "UA": 29, "XK": 20,
}  # fmt: skip


def find_emails(text: str) -> Iterator[Span]:
    return (match.span() for match in _EMAIL.finditer(text))


def find_ibans(text: str) -> Iterator[Span]:
    """Those whose length and check digits are right."""
    at = 0
    while match := _IBAN.search(text, at):
        at = match.start() + 4
        end = _end_of_iban(text, match.start(), match.end())
        if end is not None:
            yield match.start(), end
            at = end


def find_cards(text: str) -> Iterator[Span]:
    """13 to 19 digits, in groups or not, whose check digit is right; also behind other numbers."""
    for run in _CARD_RUN.finditer(text):
        groups = [(m.start(), m.end()) for m in _GROUP.finditer(text, run.start(), run.end())]
        first = 0
        while first < len(groups):
            last = _last_of_card(text, groups, first)
            if last is None:
                first += 1
                continue
            yield groups[first][0], groups[last][1]
            first = last + 1


def find_addresses(text: str) -> Iterator[Span]:
    for match in _IPV4.finditer(text):
        if all(int(part) <= 255 for part in match[0].split(".")):
            yield match.span()
    for match in _IPV6.finditer(text):
        if _is_ipv6(match[0]):
            yield match.span()


def find_phones(text: str) -> Iterator[Span]:
    for match in _PHONE.finditer(text):
        if 7 <= sum(char.isdigit() for char in match[0]) <= 15:
            yield match.span()


Finder = Callable[[str], Iterator[Span]]
#: In the order in which they look: what one has found the next ones do not see.
KINDS: dict[str, Finder] = {
    "email": find_emails,
    "iban": find_ibans,
    "card": find_cards,
    "ip": find_addresses,
    "phone": find_phones,
}


def _end_of_iban(text: str, start: int, end: int) -> int | None:
    length = _IBAN_LENGTHS.get(text[start : start + 2], 0)
    places = [at for at in range(start, end) if text[at] != " "][:length]
    if not length or len(places) < length:
        return None
    end = places[-1] + 1
    if end < len(text) and text[end].isalnum():
        return None
    letters = "".join(text[at] for at in places)
    number = "".join(str(int(char, 36)) for char in letters[4:] + letters[:4])
    return end if int(number) % 97 == 1 else None


def _last_of_card(text: str, groups: list[Span], first: int) -> int | None:
    digits = ""
    found = None
    for last in range(first, len(groups)):
        digits += text[slice(*groups[last])]
        if len(digits) > 19:
            break
        if len(digits) >= 13 and digits[0] in "3456" and _has_check_digit(digits):
            found = last
    return found


def _has_check_digit(digits: str) -> bool:
    """Luhn's formula."""
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = int(char) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _is_ipv6(text: str) -> bool:
    if text.count(":") < 2 or not any(char.isdigit() for char in text):
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
