"""The task type `repository.analyse`."""

from datetime import timedelta

from examples.repository_analysis.errors import AnalysisCancelled, RepositoryError
from examples.repository_analysis.models import AnalyseRepository, Report
from examples.repository_analysis.run import analyse_repository
from milepost import Cancelled, Context, Permanent, task


@task(
    "repository.analyse",
    queue="analysis",
    max_attempts=3,
    timeout=timedelta(minutes=20),
    isolation="process",
    memory="512MiB",
)
async def analyse(ctx: Context, request: AnalyseRepository) -> Report:
    """Find the tests of a repository at a commit, with progress by files.

    Raises Permanent for what another attempt cannot mend: no such repository or ref, nothing in it, too much.
    """

    def progress(done: int, total: int | None, message: str) -> None:
        ctx.progress(done, total, unit="files", message=message)

    try:
        return await analyse_repository(request, progress, lambda: ctx.cancelled)
    except AnalysisCancelled as stopped:
        raise Cancelled(str(stopped)) from stopped
    except RepositoryError as error:
        if error.permanent:
            raise Permanent(str(error)) from error
        raise
