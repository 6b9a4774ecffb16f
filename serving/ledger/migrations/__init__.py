"""How an older ledger becomes one of today, by alembic; ``schema`` says what one of today is."""
