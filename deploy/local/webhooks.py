"""The secret that the sandbox signs its webhooks with and that the gateway knows: made anew for each stack, readable by
its owner alone."""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path

from deploy.local.ports import HOST
from deploy.local.site import Site

SOURCES = {"signature": "SIGNATURE_WEBHOOK_SECRET"}
"""By provider, which is also the gateway's source: the name of the secret in `gateway.toml`."""
SECRET_BYTES = 32
PRIVATE = 0o600


def write_secrets(site: Site) -> Path:
    """The gateway's file of secrets; those that it has already are kept."""
    file = site.data / "webhook-secrets"
    known = _read(file)
    if not known.keys() >= set(SOURCES.values()):
        made = {name: known.get(name) or _new_secret() for name in SOURCES.values()}
        _write(file, "".join(f"{name}={value}\n" for name, value in made.items()))
    return file


def write_addresses(site: Site, gateway_port: int) -> Path:
    """The sandbox's file: where each provider's webhooks go, and what signs them."""
    known = _read(write_secrets(site))
    addresses = {
        provider: {"url": f"http://{HOST}:{gateway_port}/webhooks/{provider}", "secret": known[name]}
        for provider, name in SOURCES.items()
    }
    file = site.data / "webhooks.json"
    _write(file, json.dumps(addresses, indent=2) + "\n")
    return file


def _read(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _write(file: Path, text: str) -> None:
    """Whole or not at all, and never readable by others."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
    with os.fdopen(descriptor, "w") as written:
        written.write(text)
    temporary.replace(file)
