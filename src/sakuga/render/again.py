"""Again: an output rendered once more from its recipe, and held against what it was."""

from __future__ import annotations

from sakuga.progress import Progress
from sakuga.render.hashes import sha256_of
from sakuga.render.recipe import Recipe
from sakuga.render.studio import Studio
from sakuga.report import Report
from sakuga.spec.job import Job

SAME = "it has the very bytes of"


def again(studio: Studio, recipe: Recipe, job: Job, progress: Progress | None = None) -> Report:
    """Render ``job``, made from ``recipe``; the report says whether the bytes are the same, and if not, why they may
    differ. Raises what is missing or not as it was before anything is drawn.
    """
    with studio.opened(job, progress) as run:
        if (other := recipe.differs(run.report)) is not None:
            raise other
        device = run.plan.where.device.type
    report = studio.render(job, progress=progress)
    same = report.output_sha256 == sha256_of(recipe.path)
    for note in recipe.notes(report, device):
        report.note("again", note)
    report.note("again", f"{SAME} {recipe.path}" if same else f"its bytes are not those of {recipe.path}")
    return report
