"""Models that somebody else has fitted: their files read, their columns met with the contract's, a bundle of them."""
