"""Switches and set-points over time: what was commanded when, and what the device made of it."""

import bisect

import numpy as np

from cell_core.transforms import Array

LONG_AGO_S = -1e6


class Actuator:
    """Something switched on and off that follows late and along a ramp: a valve, a spindle, a relay.

    The opening moves linearly between 0 and 1; a command takes effect after its delay, which counts to the middle of
    the ramp. Commands must come in time order.
    """

    def __init__(
        self, *, on_delay_s: float = 0.0, off_delay_s: float = 0.0, rise_s: float = 0.0, fall_s: float = 0.0
    ) -> None:
        self._delay_s = {True: on_delay_s, False: off_delay_s}
        self._ramp_s = {True: rise_s, False: fall_s}
        self._knots: list[tuple[float, float]] = [(LONG_AGO_S, 0.0)]
        self.commanded = False
        """The last command."""

    def switch(self, time_s: float, on: bool) -> None:
        """Command on or off at a time [s]."""
        self.commanded = on
        ramp = self._ramp_s[on]
        self._move_to(time_s + max(self._delay_s[on] - 0.5 * ramp, 0.0), ramp, 1.0 if on else 0.0)

    def cut(self, time_s: float) -> None:
        """Close at once, without delay or ramp, and forget what was still under way: a safety relay."""
        self.commanded = False
        self._move_to(time_s, 0.0, 0.0)

    def _move_to(self, start_s: float, full_ramp_s: float, target: float) -> None:
        value = float(self.at(np.array([start_s]))[0])
        while self._knots and self._knots[-1][0] > start_s:  # a second cut at one moment keeps what was before it
            self._knots.pop()
        self._knots += [(start_s, value), (start_s + full_ramp_s * abs(target - value), target)]

    def at(self, time_s: Array) -> Array:
        """Return the opening (N,) at times (N,) [s]; at a jump the value after it."""
        times = np.array([k[0] for k in self._knots])
        values = np.array([k[1] for k in self._knots])
        time_s = np.asarray(time_s, float)
        i = np.maximum(np.searchsorted(times, time_s, side="right") - 1, 0)
        j = np.minimum(i + 1, len(times) - 1)
        span = times[j] - times[i]
        u = np.divide(time_s - times[i], span, out=np.zeros_like(time_s), where=span > 0.0)
        return values[i] + u * (values[j] - values[i])

    def any_open(self, start_s: float, stop_s: float) -> bool:
        """Whether the device is open at any time within [start, stop]."""
        inside = [v for t, v in self._knots if start_s <= t <= stop_s]
        return bool(np.any(self.at(np.array([start_s, stop_s])) > 0.0) or any(v > 0.0 for v in inside))

    def forget_before(self, time_s: float) -> None:
        """Drop history older than this [s]."""
        keep = max(bisect.bisect_right([k[0] for k in self._knots], time_s) - 1, 0)
        self._knots = self._knots[keep:]


class SetPoint:
    """A value commanded in steps over time. Commands must come in time order."""

    def __init__(self, value: float = 0.0) -> None:
        self._times = [LONG_AGO_S]
        self._values = [value]

    def set(self, time_s: float, value: float) -> None:
        """Command a value at a time [s]."""
        self._times.append(time_s)
        self._values.append(value)

    def at(self, time_s: Array) -> Array:
        """Return the values (N,) at times (N,) [s]."""
        i = np.searchsorted(np.array(self._times), np.asarray(time_s, float), side="right") - 1
        return np.array(self._values)[np.maximum(i, 0)]

    def forget_before(self, time_s: float) -> None:
        """Drop history older than this [s]."""
        keep = max(bisect.bisect_right(self._times, time_s) - 1, 0)
        self._times, self._values = self._times[keep:], self._values[keep:]
