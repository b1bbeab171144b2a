# The whole flow: fetch -> encode (shards) -> evaluate (another process) -> collect -> report.
#
#   snakemake --cores all                                               config/sample.yaml
#   snakemake --cores all --configfile config/kodak_gaussianimage.yaml  another experiment, instead of it
#   snakemake --cores all --config retry_failed=true                    failed rows are tried again
#
# Each rule is one call of `splatbench`, so everything can be run without Snakemake, too.
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from splatbench.runner.workflow import Workflow

min_version("9.25")


report: "reports/captions/workflow.rst"


try:
    FLOW = Workflow(
        workflow.configfiles, config, Path(workflow.basedir, "config", "sample.yaml")
    )
except ValueError as error:
    raise WorkflowError(str(error)) from None

PLAN = FLOW.plan
RESULTS = PLAN.root


wildcard_constraints:
    group="[^/]+",
    place="[^/]+",
    token="[0-9a-f]{8}",


onstart:
    # Raised here, a WorkflowError ends the run with its sentence.
    try:
        FLOW.start()
    except (OSError, RuntimeError) as error:
        raise WorkflowError(str(error)) from None


onsuccess:
    print(FLOW.overhead())
    print(f"Report: {Path(REPORT).resolve()}")


include: "datasets/rules.smk"
include: "methods/rules.smk"
include: "reports/rules.smk"


rule all:
    default_target: True
    input:
        REPORT,
