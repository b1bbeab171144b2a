# The whole flow: fetch -> encode (shards) -> evaluate (another process) -> collect -> report.
#
#   snakemake --cores all                                               config/sample.yaml
#   snakemake --cores all --configfile config/kodak_gaussianimage.yaml  another experiment, instead of it
#   snakemake --cores all --config retry_failed=true                    failed rows are tried again
#   snakemake --cores all --config engine=docker image=splatbench-cpu   the same result, each job in a container
#
# Each rule is one call of `splatbench`, so everything can be run without Snakemake, too.
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod
from snakemake.utils import min_version

from splatbench.runner.workflow import Workflow

min_version("9.25")


report: "reports/captions/workflow.rst"


try:
    FLOW = Workflow(
        workflow.configfiles,
        config,
        Path(workflow.basedir, "config", "sample.yaml"),
        remote=workflow.nodes is not None or workflow.remote_exec,
        main=workflow.is_main_process,
        apptainer=DeploymentMethod.APPTAINER
        in workflow.deployment_settings.deployment_method,
    )
except ValueError as error:
    raise WorkflowError(str(error)) from None

if FLOW.remote:
    # What this machine has says nothing of the nodes; the default profile's cores would limit the threads there.
    CORES, GPUS = None, None
    workflow.global_resources["_cores"] = None
else:
    # As many jobs with a GPU at a time as there are GPUs, unless `--resources gpu=N` says otherwise.
    if "gpu" not in workflow.global_resources:
        workflow.global_resources["gpu"] = len(FLOW.slots)
    CORES, GPUS = workflow.cores, workflow.global_resources["gpu"].value

PLAN = FLOW.plan
RESULTS = PLAN.root


wildcard_constraints:
    group="[^/]+",
    place="[^/]+",
    token="[0-9a-f]{8}",


onstart:
    # Raised here, a WorkflowError ends the run with its sentence.
    if FLOW.remote and workflow.local_exec:
        raise WorkflowError(
            "--jobs is for clusters and would let timed jobs share cores: give --cores N instead"
        )
    try:
        FLOW.start()
    except (OSError, RuntimeError) as error:
        raise WorkflowError(str(error)) from None


onsuccess:
    print(FLOW.overhead())
    print(f"Report: {Path(REPORT).resolve()}")


# With `--sdm apptainer` all jobs run in one image; without it there is none, or `splatbench containers run` makes them.
if FLOW.deployment.container:

    container: FLOW.deployment.container


include: "datasets/rules.smk"
include: "methods/rules.smk"
include: "reports/rules.smk"


rule all:
    default_target: True
    input:
        REPORT,
