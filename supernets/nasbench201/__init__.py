"""The cell space of NAS-Bench-201 (Dong & Yang, ICLR 2020), for which every network was trained.

It is no weight-sharing supernet and not in the registry: networks are built and evaluated one by
one, or looked up in a published table. Nothing is downloaded; tables are given by path::

    from supernets.nasbench201.network import build
    from supernets.nasbench201.space import SPACE
    from supernets.nasbench201.table import TabularEvaluator, TabularLatency
    from supernets.nasbench201.table_file import read_table
    from supernets.nasbench201.text import from_ops

    arch = from_ops("421211")                       # or SPACE.sample(rng)
    model = build(arch, rng=np.random.default_rng(0))   # untrained, for zero-cost proxies
    table = read_table(Path("nasbench201_cifar10.csv"))
    evaluate = TabularEvaluator(table)              # an `Evaluator`: error, latency, sizes
    costs = TabularLatency(table)                   # a `CostModel`: latency known beforehand
    problem = Problem(space=SPACE, ...)             # any searcher
"""
