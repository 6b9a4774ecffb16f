"""An example of a package that offers a transformer and a family to Slipway."""
