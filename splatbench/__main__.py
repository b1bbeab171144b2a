"""`python -m splatbench` is the same as `splatbench`."""

from splatbench.cli import main

main()
