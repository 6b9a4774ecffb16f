"""An example of a package that offers transformers to Slipway."""
