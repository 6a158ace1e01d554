"""The values of YAML 1.1's plain scalars, as Ansible reads them."""

from __future__ import annotations

TRUE = ("yes", "true", "on")


class VaultValue(str):
    """A value that ansible-vault has encrypted. Its ciphertext is not kept."""

    __slots__ = ()

    def __new__(cls, _text: str = "") -> VaultValue:
        """The same text for each, whatever was encrypted."""
        return super().__new__(cls, "<encrypted by ansible-vault>")


def plain(text: str, kind: str) -> str | int | float | bool | None:
    """The value of a scalar whose YAML tag is `kind`; dates and whatever else stay text."""
    if kind == "null":
        return None
    if kind == "bool":
        # PyYAML, and so Ansible, leaves a lone y or n as text
        return text.lower() in TRUE if len(text) > 1 else text
    try:
        if kind == "int":
            return _integer(text)
        if kind == "float":
            return _float(text)
    except ValueError:
        return text
    return text


def faithful(text: str, kind: str) -> str | int | float | bool | None:
    """As `plain`, but a number only where it is written as people write one.

    YAML 1.1 makes 8 of `010`, 37230 of `10:20:30` and 1.1 of `1.10`: a plug of a fence device would be another one.
    """
    value = plain(text, kind)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return text if is_number and str(value) != text else value


def _integer(text: str) -> int:
    digits = text.replace("_", "").lower()
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    if ":" in digits:
        return sign * int(_sexagesimal(digits))
    if digits.startswith(("0b", "0x")):
        return sign * int(digits, 0)
    if digits.startswith("0") and digits != "0":
        return sign * int(digits, 8)
    return sign * int(digits)


def _float(text: str) -> float:
    digits = text.replace("_", "").lower()
    if digits.endswith((".inf", ".nan")):
        return float(digits.replace(".", ""))
    if ":" in digits:
        return (-1 if digits.startswith("-") else 1) * _sexagesimal(digits.lstrip("+-"))
    return float(digits)


def _sexagesimal(digits: str) -> float:
    total = 0.0
    for part in digits.split(":"):
        total = total * 60 + float(part)
    return total
