"""Claims of trials in a shared study: who runs what, and who ends the search.

A claim is a RUNNING trial of the study. Among the claims of one trial of the search that with the
lowest number counts: Optuna's storages give out numbers one after the other, and whoever reads the
study after having put a claim sees all lower ones. The claim that counts becomes the finished
trial; others are retired, as FAIL. Each of these is one step of the storage that cannot be taken
back, so that a process which was taken for dead sees that its claim is gone.

A claim to end the search is a claim of the trial that would be the next.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.core.trial import FULL, Outcome, Trial
from nas.search.entries import found_attributes, is_retired, state_of
from nas.search.ledger import Ledger

_ENDS = "nas:ends"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim as the study shows it.

    Attributes:
        number: Of the study's trial.
        trial_id: Of the search's trial.
        owner: Token of the process that put it.
        ends: Whether it claims to end the search before that trial.
        retired: Whether it was given up.
    """

    number: int
    trial_id: int
    owner: str
    ends: bool
    retired: bool


@dataclass(frozen=True, slots=True)
class Board:
    """A shared study at one moment.

    Attributes:
        finished: Finished trials by id.
        claims: All claims that are no finished trials, by rising number.
    """

    finished: Mapping[int, FrozenTrial]
    claims: Sequence[Claim]

    def holder(self, trial_id: int) -> Claim | None:
        """Returns the claim of a trial that counts, or None if it has none."""
        return next((claim for claim in self.claims
                     if claim.trial_id == trial_id and not claim.retired), None)

    def put_by(self, owner: str, trial_id: int, *, ends: bool = False) -> list[Claim]:
        """Returns the claims of a trial that a process has put and not given up."""
        return [claim for claim in self.claims if claim.owner == owner and not claim.retired
                and claim.trial_id == trial_id and claim.ends == ends]

    def begun(self, trial_id: int, *, before: int) -> bool:
        """Returns whether a trial of this id or later was ever begun, before a study's trial."""
        return any(number >= trial_id for number in self.finished) or any(
            claim.trial_id >= trial_id and not claim.ends and claim.number < before
            for claim in self.claims)


class Claims:
    """Reads and writes the claims of a study.

    Args:
        ledger: Of the study.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._study_id = ledger.access(
            lambda: ledger.storage.get_study_id_from_name(ledger.access.study_name))

    def board(self) -> Board:
        """Reads the study."""
        finished: dict[int, FrozenTrial] = {}
        claims = []
        for trial in self._ledger.access(lambda: self._ledger.study.get_trials(deepcopy=False)):
            found = trial.user_attrs
            if "nas:trial_id" not in found:
                continue
            if trial.state is TrialState.RUNNING or is_retired(trial):
                claims.append(Claim(trial.number, found["nas:trial_id"], found.get("nas:owner", ""),
                                    _ENDS in found, trial.state is TrialState.FAIL))
            elif trial.state.is_finished():
                finished.setdefault(found["nas:trial_id"], trial)
        return Board(finished, claims)

    def put(self, trial: Trial, owner: str, batch: Mapping[str, Any] | None) -> None:
        """Claims a trial; whether that counts the next board says.

        Args:
            trial: Of the search.
            owner: Token of the process.
            batch: The record of its batch, if it is the batch's last trial.
        """
        params = self._ledger.live_params(trial.arch)
        self._put(create_trial(
            state=TrialState.RUNNING, params=params,
            distributions=self._ledger.distributions(params),
            user_attrs={**self._ledger.asked(trial, batch), "nas:owner": owner,
                        "nas:stage": FULL, "nas:metrics": {}}))

    def put_end(self, after: int, owner: str) -> None:
        """Claims to end the search after so many trials."""
        self._put(create_trial(state=TrialState.RUNNING, user_attrs={
            "nas:trial_id": after, "nas:owner": owner, _ENDS: True}))

    def finish(self, number: int, outcome: Outcome) -> bool:
        """Makes a claim the finished trial; returns whether it still counted."""
        storage, access = self._ledger.storage, self._ledger.access
        key = self._key(number)
        given = {"nas:stage": FULL, "nas:metrics": {}}
        try:
            for name, value in found_attributes(outcome).items():
                if name not in given or given[name] != value:
                    access(partial(storage.set_trial_user_attr, key, name, value))
            if access(lambda: storage.set_trial_state_values(
                    key, state_of(outcome), self._ledger.values(outcome))):
                return True
        except UpdateFinishedTrialError:
            pass  # it was retired; or this is a second call, and the first had its effect
        return not is_retired(access(lambda: storage.get_trial(key)))

    def retire(self, number: int) -> None:
        """Gives a claim up, unless it is finished already."""
        key = self._key(number)
        with suppress(UpdateFinishedTrialError):
            self._ledger.access(
                lambda: self._ledger.storage.set_trial_state_values(key, TrialState.FAIL))

    def retire_all(self, owner: str | None = None) -> None:
        """Gives up all claims, or those of one process."""
        for claim in self.board().claims:
            if not claim.retired and owner in (None, claim.owner):
                self.retire(claim.number)

    def _put(self, template: FrozenTrial) -> None:
        self._ledger.access(
            lambda: self._ledger.storage.create_new_trial(self._study_id, template))

    def _key(self, number: int) -> int:
        return self._ledger.access(
            lambda: self._ledger.storage.get_trial_id_from_study_id_trial_number(
                self._study_id, number))
