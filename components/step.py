"""How a doorway becomes a KFP component: the project's own image, nothing installed when it runs.

Only the source of the decorated function travels into the compiled pipeline. So each doorway imports what it needs in
its body, and a running step never imports this module, whose decorators KFP hides there. Inputs that a body ignores
are digests of content: they are what the local cache and the server's see, and so what makes a step run again. A step
that is never taken from a cache is given the run's id, as a client may ask a server for cached results of every step.
"""

import functools

from kfp import dsl

IMAGE = "slipway-python:dev"  # stands for the image; submitting puts the content digest in its place

step = functools.partial(dsl.component, base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
