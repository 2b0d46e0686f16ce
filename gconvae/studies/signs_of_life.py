"""When a trial is taken for dead: its process gave no sign of life for a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna

__all__ = ["BEGUN", "HEARTBEAT", "LOST", "Watch"]

HEARTBEAT = 10
"""Seconds between the signs of life of a running trial."""

LOST = 3
"""Signs of life that may be lacking before a trial is repeated."""

BEGUN = "begun"
"""Attribute of a trial whose process gave a first sign."""


class Watch:
    """Fails the trials of dead processes, so that others repeat them.

    Args:
        study: The trials.
        heartbeat: Seconds between signs of life.
    """

    def __init__(self, study: optuna.Study, heartbeat: int) -> None:
        self._study = study
        self._heartbeat = heartbeat
        self._silent: dict[int, float] = {}

    def fail_dead(self) -> None:
        """Looks once at all running trials."""
        import optuna
        from optuna.trial import TrialState

        optuna.storages.fail_stale_trials(self._study)
        # Optuna does not look at trials that never gave a sign. How long they are silent is
        # measured here: the clock of the machine that began them may be another
        now = time.monotonic()
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            seen = self._silent.setdefault(trial.number, now)
            if BEGUN not in trial.user_attrs and now - seen > LOST * self._heartbeat:
                try:
                    self._study.tell(trial.number, state=TrialState.FAIL)
                except ValueError:  # it has just been told by another process
                    continue

    def wait(self) -> None:
        """Sleeps until it is worth to look again."""
        time.sleep(self._heartbeat / 2)
