"""Bearer tokens: who may do what. Secrets are never stored, only their hashes."""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import bindparam, insert, select, update

from nas.core.errors import InputError
from nas.service.store.engine import Database
from nas.service.store.tables import TOKENS

Role = Literal["viewer", "runner", "admin"]

_ID = re.compile(r"[0-9a-f]{8}")
_TEXT = re.compile(r"nas_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is known of a token; its secret is not among it. Times are Unix seconds."""

    id: str
    user: str
    role: Role
    created: float
    revoked: float | None


_COLUMNS = [TOKENS.c[name] for name in Token.__dataclass_fields__]
_ALL = select(*_COLUMNS)
# Built once: building a statement takes longer than running it.
_FIND = select(*_COLUMNS, TOKENS.c.digest).where(TOKENS.c.id == bindparam("id"))


class TokenStore:
    """Tokens in a database.

    Args:
        database: Opened.
        clock: Unix seconds.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def create(self, *, user: str, role: Role) -> tuple[Token, str]:
        """Makes a token; a user may have several.

        Returns:
            It, and its text, which cannot be had again.

        Raises:
            InputError: No usable name, or no role.
        """
        if not _USER.fullmatch(user):
            raise InputError(f"{user!r} is no name of a user; give up to 64 letters, digits and "
                             "._@+-, the first a letter or digit")
        if role not in get_args(Role):
            raise InputError(f"--role {role!r}: there is only {', '.join(get_args(Role))}")
        token = Token(id=secrets.token_hex(4), user=user, role=role, created=self._clock(),
                      revoked=None)
        secret = secrets.token_urlsafe(32)
        with self._database.writing() as connection:
            connection.execute(insert(TOKENS).values(
                id=token.id, user=user, role=role, created=token.created, digest=_digest(secret)))
        return token, f"nas_{token.id}_{secret}"

    def verify(self, text: str) -> Token | None:
        """Returns the token of a text; None: there is none, or it was revoked.

        An unknown id takes the same work as a wrong secret.
        """
        parts = _TEXT.fullmatch(text)
        if parts is None:
            return None
        with self._database.reading() as connection:
            row = connection.execute(_FIND, {"id": parts[1]}).one_or_none()
        expected = _digest("") if row is None else row.digest
        same = hmac.compare_digest(_digest(parts[2]), expected)
        if row is None or not same or row.revoked is not None:
            return None
        return Token(id=row.id, user=row.user, role=row.role, created=row.created, revoked=None)

    def list(self) -> list[Token]:
        """Returns all, the revoked ones too, oldest first."""
        with self._database.reading() as connection:
            return [Token(**row._mapping) for row in connection.execute(
                _ALL.order_by(TOKENS.c.created, TOKENS.c.id))]

    def revoke(self, token_id: str) -> Token:
        """Ends a token; once more changes nothing.

        Raises:
            InputError: There is none of that id.
        """
        row = None
        if _ID.fullmatch(token_id):
            with self._database.writing() as connection:
                connection.execute(update(TOKENS).where(
                    TOKENS.c.id == token_id, TOKENS.c.revoked.is_(None),
                ).values(revoked=self._clock()))
                row = connection.execute(_ALL.where(TOKENS.c.id == token_id)).one_or_none()
        if row is None:
            raise InputError(f"there is no token {token_id!r}; nas serve token list shows all")
        return Token(**row._mapping)


def _digest(secret: str) -> str:
    # The secret is 256 random bits: nothing that could be guessed needs a slow hash.
    return hashlib.sha256(secret.encode()).hexdigest()
