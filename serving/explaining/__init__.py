"""Why a model says what it says: contributions of columns to predictions, exact where the fast form allows it."""
