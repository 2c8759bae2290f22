"""When surveys and glances are due: when the CPU time of those before is paid for."""

from __future__ import annotations

__all__ = ["MOST_NS", "SurveySchedule"]

MOST_NS = 60e6
"""The CPU time that a survey of everything may take."""
_REST_NS = 10**9
"""Sampling has so much time between two surveys, even where surveys cost nothing."""
_CREDIT = 3
"""When one part in so many of the price is paid, figures that hold no longer are renewed."""
_RENEWED = 2
"""Figures that still hold are renewed when the price is paid so many times."""
_START_NS = 4 * 10**9
"""So long after the first survey windows may still become longer, and surveys come on credit."""
_LITTLE = 0.03
"""A survey that takes no more than this part of the window comes for each doubling of it."""
_MUCH_LONGER = 8
"""The last survey says little of windows that are so many times as long as its own."""
_OUTGROWN = 1.5
"""Windows so many times as long as the last survey's may hold what it was too short to see."""
_GROWS = 1.5
"""A window so many times as long as the one before is still on its way to its length."""
_MUCH = 0.1
"""Samples may contradict the last survey for this part of the working set."""


class SurveySchedule:
    """Spreads surveys and glances over time, so that they take at most *share* of one CPU."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._paid_ns = self._partly_paid_ns = self._renewed_ns = 0
        """When the surveys so far are paid for, when that is so for a part of the price, and when
        the next one comes in any case."""
        self._glances_paid_ns = 0
        self._cost_ns = 0
        """The CPU time of the last survey or glance."""
        self._surveyed_ns = 0
        """The length of the last survey's window; 0 before the first survey."""
        self._window_ns = 0
        """The length of the window when `survey_is_due` was last asked."""
        self._started_ns = 0
        self._at_start = True
        self._is_contradicted = False

    def survey_is_due(self, now_ns: int, window_ns: int) -> bool:
        """Whether the next survey is paid for; windows are *window_ns* long now.

        A part of the price is enough if the figures of the last survey are outdated: samples
        contradict them, or windows are much longer now. As long as they hold, surveys come half as
        often as they might. At the start the first window is short, and
        windows become longer until they are within the budget. Surveys come on credit then: for
        each doubling, if they take little of the window; else as soon as windows have their length,
        or are so long that the last survey says little of them.
        """
        outdated = self._is_contradicted or window_ns >= _OUTGROWN * self._surveyed_ns
        grows = (
            window_ns >= _GROWS * self._window_ns
            and self._cost_ns > _LITTLE * window_ns
            and window_ns < _MUCH_LONGER * self._surveyed_ns
        )
        self._window_ns = window_ns
        if self._at_start and outdated and not grows:
            return True
        return now_ns >= (self._partly_paid_ns if outdated else self._renewed_ns)

    def spare_share(self, now_ns: int) -> float:
        """The share of one CPU that surveys leave now: the last one is paid for, and holds."""
        return self._share if now_ns >= self._paid_ns else 0.0

    def glance_is_due(self, now_ns: int) -> bool:
        """Whether a glance at contradicted figures is paid for."""
        return now_ns >= self._glances_paid_ns

    def note_contradictions(self, contradicted_bytes: float, working_set_bytes: float) -> None:
        """Samples contradict the last survey: these bytes are in use now, or no longer."""
        self._is_contradicted |= contradicted_bytes > _MUCH * working_set_bytes

    def survey_taken(self, now_ns: int, window_ns: int, cpu_ns: int) -> None:
        """Wait with the next survey until this one is paid for, which had a window so long."""
        is_first = self._surveyed_ns == 0
        # The first survey has to clear the bits of a life-time: that belongs to the start.
        price_ns = int((min(cpu_ns, MOST_NS) if is_first else cpu_ns) / self._share)
        # A survey that came early leaves something to pay: in the long run the share holds.
        owed_ns = max(0, self._paid_ns - now_ns)
        self._renewed_ns = now_ns + max(_REST_NS, _RENEWED * price_ns) + owed_ns
        price_ns = max(_REST_NS, price_ns) + owed_ns
        self._started_ns = self._started_ns or now_ns
        self._at_start = is_first or now_ns - self._started_ns < _START_NS
        self._paid_ns, self._partly_paid_ns = now_ns + price_ns, now_ns + price_ns // _CREDIT
        self._surveyed_ns = window_ns
        self._cost_ns = cpu_ns
        self._is_contradicted = False

    def glance_taken(self, now_ns: int, cpu_ns: int) -> None:
        """Wait longer with the next survey, and with the next glance, for what a glance took."""
        price_ns = int(cpu_ns / self._share)
        self._paid_ns += price_ns
        self._renewed_ns += price_ns
        self._partly_paid_ns += price_ns // _CREDIT
        self._glances_paid_ns = now_ns + price_ns // _CREDIT
        self._cost_ns = cpu_ns
