"""Secrets from a file, beside those of the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.local.site import Site
from deploy.local.webhooks import write_addresses, write_secrets
from services.gateway import __main__ as program
from services.gateway.declaration import DeclarationError
from services.gateway.secrets_file import SECRETS_BYTES_MAX, read_secrets


def test_a_value_is_all_behind_the_first_equals_sign(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text("# of the vendor\n\nVENDOR=whsec_a=b==\nOTHER= with blanks \n")
    assert read_secrets(file) == {"VENDOR": "whsec_a=b==", "OTHER": " with blanks "}


@pytest.mark.parametrize("line", ["hunter2", "two words=x", "=x", "9A=x"])
def test_a_line_that_says_nothing_is_named_and_not_shown(tmp_path: Path, line: str) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"A=1\n{line}\n")
    with pytest.raises(DeclarationError, match="line 2 is not NAME=VALUE") as error:
        read_secrets(file)
    assert line not in str(error.value)


def test_what_cannot_be_read_or_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="cannot be read"):
        read_secrets(tmp_path / "none")
    (tmp_path / "long").write_text("A=" + "x" * SECRETS_BYTES_MAX)
    with pytest.raises(DeclarationError, match="no file of secrets"):
        read_secrets(tmp_path / "long")


def test_the_local_stacks_declaration_holds_with_the_secrets_that_are_made_for_it(tmp_path: Path) -> None:
    site = Site(tmp_path, tmp_path)
    words = ["check", "--file", str(site.sources)]
    without = CliRunner().invoke(program.app, words)
    assert without.exit_code == 1
    assert "SIGNATURE_WEBHOOK_SECRET" in without.output

    result = CliRunner().invoke(program.app, [*words, "--secrets", str(write_secrets(site))])
    assert result.exit_code == 0, result.output
    assert "POST /webhooks/signature  -> documents.signature-completed.v1" in result.output


def test_a_stacks_secret_is_made_once_and_is_its_owners(tmp_path: Path) -> None:
    here, there = Site(tmp_path / "a", tmp_path), Site(tmp_path / "b", tmp_path)
    first = write_secrets(here).read_text()
    written = [write_secrets(here), write_addresses(here, 4_000)]
    assert write_secrets(here).read_text() == first
    assert write_secrets(there).read_text() != first
    assert {file.stat().st_mode & 0o777 for file in written} == {0o600}
    assert '"url": "http://127.0.0.1:4000/webhooks/signature"' in written[1].read_text()
