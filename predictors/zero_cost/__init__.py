"""Zero-cost proxies: one a file, one line each in `predictors.registry`.

A proxy is a class whose constructor works without arguments; its instances meet
`nas.core.protocols.ZeroCostProxy`, and `SaliencyProxy` where the score is a sum over parameters.
So ``PROXIES.get("snip").resolve()()`` is ready to be called. Options (a batch size, a scale) are
keyword arguments of the constructor with the published value as default.

Every proxy works inside ``guard.preserved(model, training=…)`` and takes labels through
``checks.mean_loss``; see both files before writing one.
"""
