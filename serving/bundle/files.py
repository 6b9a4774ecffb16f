"""The names of a bundle's files, for those who move or read one without opening it."""

MODEL = "model.skops"
SCORING = "scoring.npz"
CONTRACT = "contract.json"
PROFILE = "profile.json"
GOLDEN = "golden.json"
CARD = "card.md"
SPLIT = "split.json"
JUDGEMENT = "judgement.json"
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
JUDGED = "judged"  # folder of the bundle that was judged, in one that was fitted again on all rows
