"""Secrets from a file, as those who keep them mount them: one `NAME=VALUE` a line, as in an environment file."""

from __future__ import annotations

import re
from pathlib import Path

from services.gateway.declaration import DeclarationError

SECRETS_BYTES_MAX = 256 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def read_secrets(file: Path) -> dict[str, str]:
    """Empty lines, and those that begin with `#`, say nothing. A message never shows a value. Raises
    DeclarationError."""
    try:
        text = file.read_bytes()[: SECRETS_BYTES_MAX + 1].decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(f"{file} cannot be read: {type(error).__name__}") from None
    if len(text) > SECRETS_BYTES_MAX:
        raise DeclarationError(f"{file} is no file of secrets: it has more than {SECRETS_BYTES_MAX} bytes")
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, separator, value = line.partition("=")
        if not separator or _NAME.fullmatch(name) is None:
            raise DeclarationError(f"{file} line {number} is not NAME=VALUE")
        found[name] = value
    return found
