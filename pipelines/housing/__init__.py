"""The worked example: house prices, with a market simulator as its source system."""
