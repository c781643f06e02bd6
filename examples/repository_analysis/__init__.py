"""An example task: find the tests of a git repository. Loading this package registers `repository.analyse`."""

from examples.repository_analysis.models import AnalyseRepository, Report
from examples.repository_analysis.render import render_report
from examples.repository_analysis.task import analyse

__all__ = ["AnalyseRepository", "Report", "analyse", "render_report"]
