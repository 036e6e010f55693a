# What sacct says of a job, made plain to the SLURM plugin (2.8, and some before it). It knows the
# state "CANCELLED" but reads "CANCELLED by 1000", takes what it does not know for running, and would
# wait for ever. A job that a step of it ended is only "FAILED" there, be it for want of memory. And
# a node that failed it would look for at a job that SLURM has since sent back to wait for another
# one, and exclude a node "None assigned" from then on, which no submission survives.
slurm = sys.modules.get("snakemake_executor_plugin_slurm")
STEPS = "sacct --noheader --parsable2 --format=JobIDRaw,State --jobs="


def plain(query):
    """The plugin's query for the states of its jobs, each a word, that of the step that failed."""

    async def states(command, logger):
        found, seconds = await query(command, logger)
        if found is None:
            return found, seconds
        found = {job: state.partition(" ")[0] for job, state in found.items()}
        if failed := [job for job, state in found.items() if state == "FAILED"]:
            steps, _ = await query(STEPS + ",".join(failed), logger)
            for step, state in (steps or {}).items():
                if state not in {"COMPLETED", "FAILED"}:
                    found[step.partition(".")[0]] = state.partition(" ")[0]
        if workflow.executor_settings.requeue:
            found = {
                job: "REQUEUED" if state == "NODE_FAIL" else state
                for job, state in found.items()
            }
        return found, seconds

    return states


if workflow.is_main_process and hasattr(slurm, "query_job_status"):
    slurm.query_job_status = plain(slurm.query_job_status)
