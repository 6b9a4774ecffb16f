"""One file per verb of the ``slipway`` command."""
