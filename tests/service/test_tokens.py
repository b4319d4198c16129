import hashlib
from pathlib import Path

import pytest
from service_stores import Clock, emptied
from sqlalchemy import text

from nas.core.errors import InputError
from nas.service.folder import DataDir
from nas.service.store.engine import Database, open_database
from nas.service.store.tokens import TokenStore


@pytest.fixture
def tokens(database: Database) -> TokenStore:
    return TokenStore(database, clock=Clock())


def test_a_token_is_known_by_its_text(tokens: TokenStore) -> None:
    token, secret = tokens.create(user="ann", role="runner")

    assert tokens.verify(secret) == token
    assert (token.user, token.role, token.created, token.revoked) == ("ann", "runner", 1e9, None)
    assert secret.startswith(f"nas_{token.id}_")


def test_a_user_may_have_several(tokens: TokenStore) -> None:
    made = [tokens.create(user="ann", role=role) for role in ("viewer", "admin", "viewer")]

    assert [tokens.verify(secret) for _, secret in made] == [token for token, _ in made]
    assert sorted(token.id for token in tokens.list()) == sorted(token.id for token, _ in made)


def test_a_revoked_one_is_not(tokens: TokenStore) -> None:
    token, secret = tokens.create(user="ann", role="runner")
    revoked = tokens.revoke(token.id)

    assert revoked.revoked == 1e9
    assert tokens.verify(secret) is None
    assert tokens.list() == [revoked]
    assert tokens.revoke(token.id) == revoked


@pytest.mark.parametrize("text", [
    "", "nas_", "nas__", "Bearer x", "\0", "\ud800", "nas_00000000_" + "a" * 43,
    "nas_00000000_" + "é" * 43, "x" * 100_000])
def test_other_texts_are_none(tokens: TokenStore, text: str) -> None:
    assert tokens.verify(text) is None


def test_the_secret_must_be_right_to_the_letter(tokens: TokenStore) -> None:
    (_, first), (_, second) = (tokens.create(user=user, role="admin") for user in ("ann", "bob"))

    assert tokens.verify(first[:13] + second[13:]) is None
    assert tokens.verify(first[:-1] + ("A" if first[-1] != "A" else "B")) is None
    assert tokens.verify(first + " ") is None
    assert tokens.verify(first + "\n") is None


def test_the_secret_is_nowhere_in_the_database(tmp_path: Path) -> None:
    folder = DataDir(tmp_path)
    folder.make()
    database = open_database(None, folder)
    token, secret = TokenStore(database).create(user="ann", role="admin")
    secret = secret.removeprefix(f"nas_{token.id}_")
    with database.reading() as connection:
        row = connection.execute(text("SELECT * FROM nas_tokens")).one()
    database.close()

    assert hashlib.sha256(secret.encode()).hexdigest() in row
    stored = b"".join(file.read_bytes() for file in folder.root.rglob("*") if file.is_file())
    assert secret.encode() not in stored
    assert token.id.encode() in stored
    assert secret not in repr(token)


@pytest.mark.parametrize("user", ["", " ann", "-ann", "a\nb", "\0", "ü", "x" * 65])
def test_unusable_names_are_refused(tokens: TokenStore, user: str) -> None:
    with pytest.raises(InputError, match="no name of a user"):
        tokens.create(user=user, role="viewer")


def test_there_are_three_roles(tokens: TokenStore) -> None:
    with pytest.raises(InputError, match="viewer, runner, admin"):
        tokens.create(user="ann", role="root")  # type: ignore[arg-type]


@pytest.mark.parametrize("token_id", ["", "00000000", "\0", "\ud800"])
def test_an_unknown_one_cannot_be_revoked(tokens: TokenStore, token_id: str) -> None:
    with pytest.raises(InputError, match="nas serve token list"):
        tokens.revoke(token_id)


def test_an_emptied_database_has_none(database: Database, tokens: TokenStore) -> None:
    tokens.create(user="ann", role="admin")
    emptied(database)

    assert tokens.list() == []
