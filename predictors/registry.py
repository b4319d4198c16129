"""The zero-cost proxies by name. A new one is one file and one line here.

A target is a class whose constructor works without arguments; its instances are the proxies
(`nas.core.protocols.ZeroCostProxy`). Facts of an entry:

cost: Of one score, in the work of a plain training step on the same batch.
needs: What the network or the batch must have beyond Conv or Linear layers; empty if nothing.
saliency: Whether it also scores every number of the weights (`SaliencyProxy`).
published_spearman: ρ with the accuracy of all 15,625 networks of NAS-Bench-201 on CIFAR-10, as
    published; None where no such figure is.
source: The paper.
"""

from nas.core.registry import Entry, Registry

_ZERO_COST = "predictors.zero_cost"
_ABDELFATTAH = "Abdelfattah et al. 2021, arXiv 2101.08134"

PROXIES = Registry("proxy", (
    Entry("gradsign", f"{_ZERO_COST}.gradsign:GradSign", {
        "cost": "about 1.2 steps", "needs": "2 samples or more",
        "saliency": True, "published_spearman": 0.77,
        "source": "Zhang and Jia 2022, arXiv 2110.08616"}),
    Entry("grad_norm", f"{_ZERO_COST}.grad_norm:GradNorm", {
        "cost": "1 step", "needs": "", "saliency": False, "published_spearman": 0.59,
        "source": _ABDELFATTAH}),
    Entry("snip", f"{_ZERO_COST}.snip:Snip", {
        "cost": "1 step", "needs": "", "saliency": True, "published_spearman": 0.60,
        "source": "Lee et al. 2019, arXiv 1810.02340"}),
    Entry("grasp", f"{_ZERO_COST}.grasp:Grasp", {
        "cost": "about 3 steps", "needs": "operations that can be differentiated twice",
        "saliency": True, "published_spearman": 0.51,
        "source": "Wang et al. 2020, arXiv 2002.07376"}),
    Entry("fisher", f"{_ZERO_COST}.fisher:Fisher", {
        "cost": "1 step", "needs": "", "saliency": True, "published_spearman": 0.36,
        "source": "Turner et al. 2020, arXiv 1906.04113"}),
    Entry("plain", f"{_ZERO_COST}.plain:Plain", {
        "cost": "1 step", "needs": "", "saliency": True, "published_spearman": None,
        "source": "Mozer and Smolensky 1988; " + _ABDELFATTAH}),
    Entry("synflow", f"{_ZERO_COST}.synflow:SynFlow", {
        "cost": "1 step of one sample in float64, no data", "needs": "real-valued inputs",
        "saliency": True, "published_spearman": 0.73,
        "source": "Tanaka et al. 2020, arXiv 2006.05467"}),
    Entry("jacob_cov", f"{_ZERO_COST}.jacob_cov:JacobCov", {
        "cost": "1 step", "needs": "real-valued inputs, 2 samples or more",
        "saliency": False, "published_spearman": 0.73,
        "source": "Mellor et al. 2020, arXiv 2006.04647v1"}),
    Entry("naswot", f"{_ZERO_COST}.naswot:NasWot", {
        "cost": "1 forward", "needs": "activations such as ReLU or GELU, 2 samples or more",
        "saliency": False, "published_spearman": 0.77,
        "source": "Mellor et al. 2021, arXiv 2006.04647"}),
    Entry("zen", f"{_ZERO_COST}.zen:Zen", {
        "cost": "8 forwards, no data", "needs": "real-valued inputs, 2 samples or more",
        "saliency": False, "published_spearman": 0.38,
        "source": "Lin et al. 2021, arXiv 2102.01063"}),
    Entry("zico", f"{_ZERO_COST}.zico:ZiCo", {
        "cost": "2 steps", "needs": "2 samples or more",
        "saliency": False, "published_spearman": 0.80,
        "source": "Li et al. 2023, arXiv 2301.11300"}),
    Entry("te_nas", f"{_ZERO_COST}.te_nas:TeNas", {
        "cost": "1 backward a sample",
        "needs": "activations such as ReLU or GELU, 2 samples or more",
        "saliency": False, "published_spearman": None,
        "source": "Chen et al. 2021, arXiv 2102.11535"}),
    Entry("epe_nas", f"{_ZERO_COST}.epe_nas:EpeNas", {
        "cost": "1 step", "needs": "real-valued inputs, 2 samples of a class",
        "saliency": False, "published_spearman": None,
        "source": "Lopes et al. 2021, arXiv 2102.08099"}),
    Entry("params", f"{_ZERO_COST}.params:Params", {
        "cost": "none", "needs": "", "saliency": False, "published_spearman": 0.75,
        "source": "baseline"}),
    Entry("macs", f"{_ZERO_COST}.macs:Macs", {
        "cost": "1 forward of one sample", "needs": "", "saliency": False,
        "published_spearman": 0.73, "source": "baseline"}),
), plural="proxies")
