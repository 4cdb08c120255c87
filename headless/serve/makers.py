"""What makes the clips of the service: a batch's job, which also weighs a clip and loads its weights."""

import logging

from ...clips.choices_over_time import CHUNKED
from ...clips.plan import Plan
from ...clips.recipes.extend import number_of_chunks
from ...svd_model.checkpoint import Checkpoint
from ...svd_model.layerwise import is_out_of_memory
from ..batch.clips import ClipJob
from ..batch.rows import Row

logger = logging.getLogger(__name__)


class ClipMaker(ClipJob):
    """A pipeline that makes the clips of requests."""

    def work(self, row: Row) -> float:
        """The work of a clip as a multiple of the checkpoint's own; raises ValueError."""
        return _work_of(self._plan(row)) / _work_of(self._pipeline.plan(None))

    def load(self) -> None:
        """Loads the networks as far as they fit beside each other; the first clip has others come and go."""
        try:
            for name in ("unet", "vision", "encoder", "decoder"):
                getattr(self._pipeline, name)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            logger.info("not all networks fit on the device together; they take turns")

    def settings(self) -> dict:
        """The settings of a clip whose request names none."""
        return self._plan(Row("")).settings.as_metadata()

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint of its clips."""
        return self._pipeline.checkpoint


def _work_of(plan: Plan) -> int:
    """Frames × pixels × steps; frames that two chunks or windows share are sampled twice."""
    settings, frames = plan.settings, plan.settings.num_frames
    if settings.long in CHUNKED:
        chunks = number_of_chunks(frames, settings.chunk, settings.overlap)
        frames = max(frames, chunks * settings.chunk)
    return frames * settings.width * settings.height * settings.steps
