"""The service's tables. Migrations make them; a test says that they agree."""

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

VERSION_TABLE = "nas_schema"  # not alembic's usual name: a ledger may live in the same database
SCHEMA = "0001"  # the newest migration

METADATA = MetaData()

ABOUT = Table(
    "nas_about", METADATA,
    Column("folder", Text, primary_key=True))  # the id of the one data folder that it belongs to

# Text that people or programs wrote (config, note, error) is kept as JSON of ASCII characters:
# PostgreSQL keeps no NUL, and no database half a surrogate pair.
JOBS = Table(
    "nas_jobs", METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("user", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("config", Text, nullable=False),
    Column("key", Text),  # Idempotency-Key
    Column("created", Double, nullable=False),
    Column("started", Double),
    Column("ended", Double),
    Column("ran_s", Double, nullable=False, default=0.0),
    Column("deaths", Integer, nullable=False, default=0),
    Column("done", BigInteger, nullable=False, default=0),
    Column("total", BigInteger, nullable=False, default=0),
    Column("farthest", Text, nullable=False, default="{}"),  # JSON: stage → most done of all starts
    Column("note", Text, nullable=False, default='""'),
    Column("error", Text),
    Column("stop_request", Text),
    Column("slot", Integer),
    Column("lease", Text),  # the token that beats and ends must carry
    Column("lease_until", Double),
    UniqueConstraint("user", "key", name="nas_jobs_user_key"),
    Index("nas_jobs_state", "state", "number"),
    Index("nas_jobs_user", "user", "number"),
    Index("nas_jobs_user_state", "user", "state", "number"),
    Index("nas_jobs_kind", "kind", "number"),
    sqlite_autoincrement=True)

TOKENS = Table(
    "nas_tokens", METADATA,
    Column("id", Text, primary_key=True),
    Column("user", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("digest", Text, nullable=False),  # SHA-256 of the secret half, in hex digits
    Column("created", Double, nullable=False),
    Column("revoked", Double))
