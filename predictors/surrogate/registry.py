"""The surrogates by name. A new one is one file and one line here.

A target is called with ``seed`` and gives a `predictors.surrogate.model.Surrogate`.
"""

from nas.core.registry import Entry, Registry

_HERE = "predictors.surrogate"

SURROGATES = Registry("surrogate", (
    Entry("auto", f"{_HERE}.auto:AutoSurrogate", {
        "std": "calibrated",
        "source": "the mean of four others, or the one that is clearly better"}),
    Entry("ridge", f"{_HERE}.ridge:Ridge", {
        "std": "posterior", "source": "Bayesian ridge, MacKay 1992"}),
    Entry("gaussian_process", f"{_HERE}.gaussian_process:GaussianProcess", {
        "std": "posterior", "source": "Rasmussen and Williams 2006"}),
    Entry("projected_process", f"{_HERE}.projected_process:ProjectedProcess", {
        "std": "posterior", "source": "KPLS, Bouhlel et al. 2016"}),
    Entry("boosting", f"{_HERE}.trees:boosting", {
        "std": "ensemble", "source": "stochastic gradient boosting, Friedman 2002"}),
    Entry("forest", f"{_HERE}.trees:forest", {
        "std": "ensemble", "source": "extremely randomised trees, Geurts et al. 2006"}),
    Entry("mlp", f"{_HERE}.mlp:MlpEnsemble", {
        "std": "ensemble", "source": "deep ensembles, Lakshminarayanan et al. 2017"}),
))
