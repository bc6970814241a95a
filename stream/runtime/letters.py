"""A limit on dead letters, so that a bad deployment stops instead of emptying the log into them."""

from __future__ import annotations

from collections import deque

from stream.runtime.settings import WorkerSettings


class TooManyLetters(Exception):
    """Most of the newest records became dead letters; the message says what to do. Nothing of them is acknowledged."""


class LetterLimit:
    """Watches how many of the newest records this worker made dead letters of; those of the sources do not count."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._batches: deque[tuple[int, int]] = deque()
        self._records = 0
        self._letters = 0

    def take(self, records: int, letters: int, newest: str) -> None:
        """A batch of ``records`` gave ``letters``; ``newest`` describes one. Raises ``TooManyLetters``."""
        self._batches.append((records, letters))
        self._records += records
        self._letters += letters
        while self._records - self._batches[0][0] >= self._settings.dead_letters_window:
            gone_records, gone_letters = self._batches.popleft()
            self._records -= gone_records
            self._letters -= gone_letters
        most = self._settings.dead_letters_share_max
        if letters and self._letters > most * max(self._records, self._settings.dead_letters_window // 10):
            raise TooManyLetters(
                f"{self._letters} of the last {self._records} records became dead letters, more than "
                f"worker.dead_letters_share_max = {most:g} allows; the last: {newest}. The worker stopped and "
                "acknowledged none of this batch. Mend what writes such records, or the model; or raise the limit "
                "to let them pass."
            )
