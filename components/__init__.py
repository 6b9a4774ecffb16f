"""How one model is made, judged and watched: thin KFP doorways over plain functions in ``core``."""
