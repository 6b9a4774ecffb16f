"""The tables as they were before revisions had numbers: nothing is to be done."""

revision = "1"
down_revision = None


def upgrade() -> None:
    """Nothing."""
