"""All that a running gateway is made of, as one value, and the checks that every submission passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.gateway.declaration import Declaration, Source
from services.gateway.intake import Intake
from services.gateway.metrics import GatewayMetrics
from services.gateway.problems import too_many
from services.gateway.rates import Buckets, client_name
from services.gateway.signatures import key_of
from services.sdk.failures import StartRefused
from services.sdk.resume_link import SECRET_LENGTH_MIN
from services.sdk.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """Every number that bounds a request."""

    body_bytes_max: int = 256 * 1024
    body_wait_s: float = 10.0
    """A body that is not whole by then is given up."""
    publish_wait_s: float = 10.0
    requests_max: int = 256
    """Requests under way; one more is answered with 503."""
    client_per_second: float = 5.0
    client_burst: int = 60
    form_keep_ms: int = 24 * 3_600_000
    """How long a form's idempotency key is remembered."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """`keys_of_sources`: the secrets of each source, ready for use. `link_secrets`: the first signs, all are accepted;
    none = no resume links. `allowed_origins`: whose pages may send forms, besides the gateway's own; `*` = all."""

    declaration: Declaration
    intake: Intake
    metrics: GatewayMetrics
    around: Surroundings
    clients: Buckets
    sources: Mapping[str, Buckets]
    keys_of_sources: Mapping[str, Sequence[bytes]]
    limits: GatewayLimits = field(default_factory=GatewayLimits)
    link_secrets: Sequence[str] = ()
    allowed_origins: frozenset[str] = frozenset()

    def admit_client(self, address: str) -> None:
        """Before anything is read. Raises Problem."""
        wait_s = self.clients.take(client_name(address))
        if wait_s > 0:
            raise too_many(wait_s, "this client")

    def admit_source(self, source: Source) -> None:
        """After the signature was found right: a stranger must not use up what the source may send. Raises Problem."""
        wait_s = self.sources[source.name].take(source.name)
        if wait_s > 0:
            raise too_many(wait_s, f"source {source.name}")

    def new_key(self) -> str:
        """For who brings none."""
        return "".join(self.around.token() for _ in range(4))


def source_buckets(declaration: Declaration, around: Surroundings) -> dict[str, Buckets]:
    return {
        name: Buckets(source.per_second, source.burst, around.monotonic_s)
        for name, source in declaration.sources.items()
    }


def source_keys(declaration: Declaration, environment: Mapping[str, str]) -> dict[str, list[bytes]]:
    """Raises StartRefused: a source whose secrets are not all there would refuse what is genuine, or worse."""
    found: dict[str, list[bytes]] = {}
    for name, source in declaration.sources.items():
        for secret_name in source.secret_names:
            secret = environment.get(secret_name, "")
            try:
                found.setdefault(name, []).append(key_of(source.scheme, secret))
            except ValueError as error:
                raise StartRefused(f"source {name}: {secret_name} in the environment: {error}") from None
    return found


def checked_link_secrets(secrets: Sequence[str]) -> tuple[str, ...]:
    """Raises StartRefused."""
    if any(len(secret) < SECRET_LENGTH_MIN for secret in secrets):
        raise StartRefused(f"a secret of links needs {SECRET_LENGTH_MIN} characters")
    return tuple(secrets)
