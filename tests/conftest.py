"""What holds for every test: none fails because the machine is slow, and ``make test`` draws the same examples each
time, so that what fails there fails at home. ``make test-slow`` draws others, and prints how to have them again.
"""

import os

from hypothesis import settings

settings.register_profile("slipway", deadline=None, derandomize=not os.environ.get("EXPLORE"), print_blob=True)
settings.load_profile("slipway")
