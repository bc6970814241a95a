"""Whose turn it is: all sources of a session ask here, and one request goes at a time, when the pace allows.

The turn that was due the longest ago goes first. A source sets its own next due time, a busy one an earlier time;
when there are more turns than the budget has room for, all wait alike longer, and none is left out.

The only place that waits for time to pass, so that a test can let it pass.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Final, Literal

import msgspec
import structlog

from ingest.weibo import politeness
from ingest.weibo.client import Answer, Request
from ingest.weibo.memory import Memory
from ingest.weibo.politeness import PaceState
from ingest.weibo.session import Session
from ingest.weibo.settings import WeiboSettings
from stream.contract.records import FIRING, OF_SOURCE, RESOLVED, Flip, Outcome

_log = structlog.get_logger(__name__)
LOOK_S: Final = 5.0
"""So often a waiting desk looks whether a person has done something."""
FORGET_EVERY: Final = 500
RULE: Final = "weibo_session"
ENTITY: Final = "SOURCE/Weibo"
_WORDS: Final[dict[str, str]] = {
    "login_required": "Weibo asks to log in: the cookie is dead. Put a new one into the cookie file. "
    "登录已失效，请更新 Cookie",
    "captcha": "Weibo asks for a captcha. Open Weibo in the browser, solve it there, then: weibowatch weibo resume. "
    "微博要求验证码，请在浏览器中完成后运行 weibowatch weibo resume",
    "blocked": "Weibo refuses this session (HTTP 432). Rest; open Weibo in the browser, then: weibowatch weibo resume. "
    "微博拒绝了本会话（432），请暂停并在浏览器中确认后运行 weibowatch weibo resume",
}


class Held(Exception):
    """The turn did not come in time. ``outcome`` says why: what stopped the session, or ``throttled``.

    ``advice`` is what to do about it.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("the budget has no room for it yet" if outcome == "throttled" else outcome)
        self.outcome: Outcome = outcome
        self.advice = _WORDS.get(outcome, f"{self}; try again later")


class _Turn(msgspec.Struct, eq=False):
    request: Request
    due_s: float
    held_s: float
    answer: asyncio.Future[Answer]


class Desk:
    """Owns the session's pace. An async context manager; ``ask`` from any task of its loop."""

    def __init__(
        self,
        settings: WeiboSettings,
        session: Session,
        memory: Memory,
        send: Callable[[Request], Awaitable[Answer]],
        *,
        now_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._session = session
        self.memory = memory
        self._send = send
        self._now_ms = now_ms
        self._sleep = sleep
        self._draw = draw or random.Random()
        self._state = memory.pace()
        self._turns: list[_Turn] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sent = 0
        self._told_session_problem = ""
        self._taken: set[str] = set()

    async def __aenter__(self) -> Desk:
        self._look()
        self._task = asyncio.create_task(self._serve(), name="weibo-desk")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for turn in self._turns:
            turn.answer.cancel()

    @property
    def stopped(self) -> Outcome | Literal[""]:
        """The outcome that stopped the session, empty while it goes on."""
        return self._state.stopped

    @property
    def state(self) -> PaceState:
        """For people: what was asked lately, and what stopped it."""
        return self._state

    def take_news(self) -> list[Flip]:
        """Alerts about the session that no source has taken yet; ``news_told`` when the log has them."""
        news = [flip for flip in self.memory.news() if flip.id not in self._taken]
        self._taken.update(flip.id for flip in news)
        return news

    def news_told(self, news: Sequence[Flip]) -> None:
        """The log has them."""
        if news:
            told = {flip.id for flip in news}
            self.memory.save_news([flip for flip in self.memory.news() if flip.id not in told])

    async def ask(self, request: Request, due_ms: int = 0, patience_s: float | None = None) -> Answer:
        """The answer to ``request``, which goes at ``due_ms`` or later.

        With ``patience_s`` the wait ends with ``Held`` when the turn has not come so long after it was due, and at
        once while the session is stopped.
        """
        # What was due before now goes before what comes due meanwhile.
        due_s = due_ms / 1000 if due_ms else self._now_s()
        held_s = math.inf if patience_s is None else max(due_s, self._now_s()) + patience_s
        turn = _Turn(request, due_s, held_s, asyncio.get_running_loop().create_future())
        self._turns.append(turn)
        self._changed.set()
        try:
            return await turn.answer
        finally:
            if turn in self._turns:
                self._turns.remove(turn)

    def _now_s(self) -> float:
        return self._now_ms() / 1000

    # --- turns -----------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        while True:
            try:
                await self._serve_one()
            except Exception as error:  # a full disk, say: nobody may ask while the pace cannot be stored
                _log.exception("weibo_desk_failed")
                for turn in self._turns:
                    if not turn.answer.done():
                        turn.answer.set_exception(error)
                self._turns.clear()
                await self._sleep(LOOK_S)

    async def _serve_one(self) -> None:
        self._look()
        now_s = self._now_s()
        ready_s = politeness.next_s(self._state, self._settings, now_s)
        self._hold(now_s)
        turn = min(self._turns, key=lambda one: one.due_s, default=None)
        at_s = max(ready_s, turn.due_s) if turn else math.inf
        if turn is None or at_s > now_s:
            await self._rest(min(at_s - now_s, LOOK_S))
            return
        self._turns.remove(turn)
        self._state = politeness.sent(self._state, self._settings, now_s, self._draw)
        self.memory.save_pace(self._state)  # before it goes: killed in between, it counts as sent
        answer = await self._send(turn.request)
        self._settle(answer)
        if not turn.answer.done():
            turn.answer.set_result(answer)

    async def _rest(self, seconds: float) -> None:
        """Until then, or until another turn comes."""
        self._changed.clear()
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        coming = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({sleeping, coming}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            coming.cancel()

    def _hold(self, now_s: float) -> None:
        """Tell those who cannot wait longer."""
        for turn in self._turns:
            impatient = turn.held_s < math.inf
            if impatient and (self._state.stopped or now_s > turn.held_s) and not turn.answer.done():
                turn.answer.set_exception(Held(self._state.stopped or "throttled"))
        self._turns = [turn for turn in self._turns if not turn.answer.done()]

    def _settle(self, answer: Answer) -> None:
        before = self._state.stopped
        now_s = self._now_s()
        self._state = politeness.settled(self._state, self._settings, now_s, answer.outcome)
        self.memory.save_pace(self._state)
        if self._state.stopped != before:
            self._announce(before)
        self._sent += 1
        if self._sent % FORGET_EVERY == 0:
            self.memory.forget(round((now_s - self._settings.memory_days * politeness.DAY_S) * 1000))

    # --- what a person did -----------------------------------------------------------------------------------------

    def _look(self) -> None:
        """A new cookie or ``weibo resume`` lets a stopped session go on."""
        self._session.refresh()
        if self._session.problem != self._told_session_problem:
            self._told_session_problem = self._session.problem
            if self._session.problem:
                _log.error("weibo_cookie", problem=self._session.problem)
        digest = self._session.cookies.digest
        new = digest != self.memory.session()
        if new:
            self.memory.save_session(digest)
        if (self.memory.asked_to_go_on() or new) and self._state.stopped:
            before = self._state.stopped
            self._state = politeness.let_go_on(self._state)
            self.memory.save_pace(self._state)
            self._announce(before)

    def _announce(self, before: str) -> None:
        """Alerts for the next chunk of any source: firing when the session stops, resolved when it goes on."""
        now_ms = self._now_ms()
        news = self.memory.news()
        begun, begun_ms, outcome = self.memory.incident()
        if begun and self._state.stopped != outcome:
            news.append(_flip(begun, 2, RESOLVED, begun_ms, now_ms, outcome))
            self.memory.save_incident(("", 0, ""))
        if self._state.stopped:
            name = hashlib.sha256(f"{RULE}/{now_ms}".encode()).hexdigest()[:24]
            news.append(_flip(name, 1, FIRING, now_ms, now_ms, self._state.stopped))
            self.memory.save_incident((name, now_ms, self._state.stopped))
            _log.error("weibo_stopped", outcome=self._state.stopped, what_to_do=_WORDS[self._state.stopped])
        else:
            _log.info("weibo_goes_on", after=before)
        self.memory.save_news(news)


def _flip(incident: str, sequence: int, state: str, first_ms: int, at_ms: int, outcome: str) -> Flip:
    return Flip(
        id=f"{incident}-{sequence}", incident_id=incident, sequence=sequence, rule_id=RULE, rule_version=0,
        rule_kind="data_quality", state=state, severity="high", entity=ENTITY, type=OF_SOURCE, surface="Weibo",
        at_ms=at_ms, first_ms=first_ms, window=None, reason=_WORDS[outcome] if state == FIRING else f"{outcome}: over",
        labels={"outcome": outcome},
    )  # fmt: skip
