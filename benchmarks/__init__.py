"""How fast the kernels are here, beside other implementations and the machine's own limits.

    python -m benchmarks                    every kernel: times, pairs per second, fraction of the roofline
    python -m benchmarks.growth             time and memory of one fitting step against pixels and Gaussians

Both are run from the project's folder and write to results/benchmarks/.
"""
