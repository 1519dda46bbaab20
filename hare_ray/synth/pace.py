"""How many requests a client has in flight: as many as keep the server's queue short and never empty.

Pure arithmetic, told the time; `hare_ray.synth.client` asks it before each request. Three sources, the best there is:

    load          the server says how full it is (headers of our replicas, gauges of vLLM and SGLang): `Follow`
    throughput    it says nothing: `Climb`
    429, 503      fewer at once, by a third, and once per round trip: those that were sent before the cut don't count.
                  Cuts with no answer between them tell that the server answers nobody, not how many it takes: with
                  the first answers the limit goes back, one more with each, to where the first of these cuts left it

Follow. With f requests of ours in flight the server is r times full. A share of f / r fills it, whoever else asks
there and however many replicas stand behind the address, and TARGET times that leaves a queue of a quarter of what is
being worked on: work for every sequence that ends, until the client has heard of it. The estimate is averaged over
a round trip, with at most GROWTH times the limit. Clients that share a server all multiply by the same number, so
each adds one request to it: without that, one that came late would never get its share.

Climb. A server is full when more requests give no more tokens a second. The limit is doubled while that pays (a
GAIN_SHARE of the growth is gained), halved while it costs nothing, then the same in steps of a quarter, and rests for
HOLD rounds between the step that lost and the one that did not gain. A round is a turnover: all in flight at its
begin are answered (not counted), then as many again (counted). Rows of equal length end in bursts, so that a count
begins and ends between two of them: where the gap is wide. BBR's product of best rate and shortest delay is no
choice here: one sequence alone is decoded faster than one of many, so that it would leave the server half empty.
"""

from __future__ import annotations

from hare_ray.synth.endpoint import Load

TARGET = 1.25
"""Requests at a server, as a multiple of those it works on."""

GROWTH = 4.0
"""Of the limit by one reply or look, at most: the first ones come from a server that is still empty."""

LEAST_RATIO = 0.01
"""A server that is emptier says no more than that."""

SMOOTH = 16
"""Replies that an estimate is averaged over; fewer where fewer are in flight."""

CUT = 0.7
"""Of the requests in flight, left by a refusal."""

START = 32
"""Requests in flight before anything is known."""

COARSE, FINE = 2.0, 1.25
"""Steps of a climb."""

GAIN_SHARE = 0.25
"""Of the growth in requests that the tokens a second must grow by; 1 below capacity, 0 above it."""

HOLD = 12
"""Rounds of a climb between two looks around."""

CUT_HOLD, SMALL_CUT_HOLD = 3, 1
"""Likewise, after a refusal; the second below LEAST_REPLIES, where a round is many turnovers."""

CHANGED = 0.2
"""Change of the tokens a second, at the same limit, by which a rest ends: the server has grown or shrunk."""

LEAST_REPLIES = 8
"""Counted in a round."""

BURST = 0.5
"""Of the widest gap between two replies, that begins another burst."""

FADING = 2.0
"""Turnovers after which a wide gap counts a third."""

USED = 0.8
"""Of the limit: where less is in flight, it is not the limit that decides."""


class Follow:
    """The limit, where the server says how full it is."""

    def __init__(self, start: float) -> None:
        """Begin with `start` requests."""
        self.limit = start

    def seen(self, load: Load, in_flight: int, weight: float) -> None:
        """The server's load while `in_flight` of ours were there."""
        ours = self.limit if in_flight == round(self.limit) else in_flight  # or rounding would swallow the one added
        share = ours * TARGET / max(load.ratio, LEAST_RATIO) + 1
        if load.ratio < TARGET:  # few are in flight where there is little to ask; that is no reason for fewer
            share = max(share, self.limit)
        self.limit += weight * (min(share, GROWTH * self.limit) - self.limit)


class Climb:
    """The limit, where only throughput tells."""

    def __init__(self, start: float) -> None:
        """Begin with `start` requests."""
        self.limit = start
        self._rest: tuple[float, float] | None = None
        """The best limit so far, and its work a second."""
        self._step, self._way, self._turns, self._hold = COARSE, 1, 0, 0
        self._accepted = False
        self._skip = start
        self._since: float | None = None
        """When the counting began: at the end of a burst. None: waits for one."""
        self._count, self._work, self._last, self._widest = 0, 0.0, 0.0, 0.0
        self._back, self._answered = 0.0, True
        """Where the first of the last cuts left the limit, until it is there again; whether an answer came since."""

    def ended(self, work: float, in_flight: int, now: float) -> None:
        """A reply with so much work in it came, while `in_flight` (with it) were there."""
        self._answered = True
        gap, before = now - self._last, self._last
        fading = self._widest * (1 - 1 / (FADING * max(1.0, self.limit)))  # or a pause would stay the widest for ever
        self._widest, self._last = max(fading, gap), now
        burst = gap >= BURST * self._widest
        if self.limit < self._back:
            self.limit = min(self._back, self.limit + 1)
            self._back = self._back if self.limit < self._back else 0.0
            self._again()
        elif self._skip > 0 or in_flight > self.limit + 1 or in_flight < USED * round(self.limit):
            self._skip, self._since = max(0.0, self._skip - 1), None
        elif self._since is None:
            if burst:
                self._since, self._count, self._work = before, 1, work
        elif burst and self._count >= max(LEAST_REPLIES, self.limit) and before > self._since:
            limit = self.limit
            self._judge(self._work / (before - self._since))
            self._again(2 if self.limit < limit else 1)
        else:
            self._count, self._work = self._count + 1, self._work + work

    def _again(self, turnovers: int = 1) -> None:
        """Count anew after so many turnovers: those sent too many before a step down mix with two of them."""
        self._skip, self._since = turnovers * self.limit, None

    def cut(self, limit: float) -> None:
        """The server refused: rest at fewer."""
        if self._answered:
            self._back, self._answered = limit, False
        self.limit = limit
        self._again()
        self._hold = CUT_HOLD if self._back >= LEAST_REPLIES else SMALL_CUT_HOLD
        self._rest, self._step, self._way, self._turns = None, FINE, 1, 0

    def _judge(self, rate: float) -> None:
        if self._hold > 0:
            self._stay(rate)
            return
        if self._rest is None:
            self._rest = (self.limit, rate)
        else:
            self._compare(rate, *self._rest)
        if self._hold == 0:
            limit = self._rest[0]
            self.limit = self._more(limit) if self._way > 0 else max(1.0, limit / self._step)

    def _more(self, limit: float) -> float:
        """A step up; a quarter of little is nothing."""
        return max(limit * self._step, limit + 1) if limit < LEAST_REPLIES else limit * self._step

    def _compare(self, rate: float, limit: float, before: float) -> None:
        """Take the step that was tried, or turn."""
        needed = before * (1 + GAIN_SHARE * (self.limit / limit - 1))
        if rate >= needed and self.limit != limit:
            self._rest, self._accepted, self._turns = (self.limit, rate), True, 0
            return
        self._way, self._turns = -self._way, self._turns + 1
        if self._accepted:  # the best lies between the last two
            self._step = FINE
        if self._turns == 2:
            self.limit, self._hold, self._turns = limit, HOLD, 0

    def _stay(self, rate: float) -> None:
        if self._rest is None:
            self._rest = (self.limit, rate)
        limit, before = self._rest
        self._hold -= 1
        if abs(rate - before) > CHANGED * before:
            self._hold, self._step, self._accepted = 0, COARSE, False
        if self._hold == 0:
            self._rest, self._way = (limit, rate), 1
            self.limit = self._more(limit)
        else:
            self._rest = (limit, before + (rate - before) / 2)


class Pace:
    """One client's limit on its requests in flight."""

    def __init__(self, most: int, start: float = START) -> None:
        """Never above `most`."""
        self._most = most
        self._follow: Follow | None = None
        self._climb = Climb(min(start, most))
        self._cut_at = float("-inf")

    @property
    def limit(self) -> int:
        """Requests in flight, at most."""
        found = self._climb.limit if self._follow is None else self._follow.limit
        return max(1, min(self._most, round(found)))

    def seen(self, load: Load, in_flight: int, weight: float | None = None) -> None:
        """The server said how full it is; by default with a reply, one of `in_flight`."""
        if self._follow is None:
            self._follow = Follow(self.limit)
        self._follow.seen(load, in_flight, weight or 1 / max(1, min(SMOOTH, in_flight)))
        self._follow.limit = max(1.0, min(float(self._most), self._follow.limit))

    def silent(self) -> None:
        """The server no longer says how full it is."""
        if self._follow is not None:
            self._climb, self._follow = Climb(self.limit), None

    def ended(self, work: float, in_flight: int, now: float) -> None:
        """A reply came."""
        if self._follow is None:
            self._climb.ended(work, in_flight, now)
            self._climb.limit = min(float(self._most), self._climb.limit)

    def refused(self, sent: float, in_flight: int, now: float) -> None:
        """The server has too many: a request sent at `sent` was refused."""
        if sent < self._cut_at:
            return
        self._cut_at = now
        fewer = max(1.0, CUT * min(self.limit, in_flight))
        if self._follow is not None:
            self._follow.limit = fewer
        else:
            self._climb.cut(fewer)
