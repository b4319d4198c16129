"""Jobs, tokens, and the folder that they belong to."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Makes all tables."""
    op.create_table("nas_about", sa.Column("folder", sa.Text, primary_key=True))
    op.create_table(
        "nas_jobs",
        sa.Column("number", _NUMBER, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("started", sa.Double),
        sa.Column("ended", sa.Double),
        sa.Column("ran_s", sa.Double, nullable=False),
        sa.Column("deaths", sa.Integer, nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("farthest", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("stop_request", sa.Text),
        sa.Column("slot", sa.Integer),
        sa.Column("lease", sa.Text),
        sa.Column("lease_until", sa.Double),
        sa.UniqueConstraint("user", "key", name="nas_jobs_user_key"),
        sqlite_autoincrement=True)
    op.create_index("nas_jobs_state", "nas_jobs", ["state", "number"])
    op.create_index("nas_jobs_user", "nas_jobs", ["user", "number"])
    op.create_index("nas_jobs_user_state", "nas_jobs", ["user", "state", "number"])
    op.create_index("nas_jobs_kind", "nas_jobs", ["kind", "number"])
    op.create_table(
        "nas_tokens",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("revoked", sa.Double))
