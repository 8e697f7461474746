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
        self._arrays: tuple[Array, Array] | None = None
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
        self._arrays = None

    def at(self, time_s: Array) -> Array:
        """Return the opening (N,) at times (N,) [s]; at a jump the value after it."""
        if self._arrays is None:
            self._arrays = np.array([k[0] for k in self._knots]), np.array([k[1] for k in self._knots])
        times, values = self._arrays
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
        self._knots, self._arrays = self._knots[keep:], None


class Spindle:
    """A motor with its load: towards full speed or rest like a first-order lag, each way with its own time.

    `spin_up_s` and `spin_down_s` are what a data sheet tells: the time until REACHED of the change is made. The rest of
    a change smaller than GONE is dropped, so that a spindle comes to rest.
    """

    REACHED = 0.98
    GONE = 1e-3

    def __init__(self, *, spin_up_s: float, spin_down_s: float) -> None:
        lag = -1.0 / np.log(1.0 - self.REACHED)
        self._lag_s = {True: spin_up_s * lag, False: spin_down_s * lag}
        self._pieces: list[tuple[float, float, float, float]] = [(LONG_AGO_S, 0.0, 0.0, 0.0)]
        """From when on, from what, to what, with which lag."""
        self.commanded = False
        """The last command."""

    def switch(self, time_s: float, on: bool) -> None:
        """Command on or off at a time [s]; commands must come in time order."""
        self.commanded = on
        value = float(self.at(np.array([time_s]))[0])
        self._pieces.append((time_s, value, 1.0 if on else 0.0, self._lag_s[on]))

    def at(self, time_s: Array) -> Array:
        """Return the speed (N,) over full speed at times (N,) [s]."""
        time_s = np.asarray(time_s, float)
        value = np.zeros(len(time_s))
        for start, before, target, lag in self._pieces:
            since = time_s >= start
            if lag > 0.0:
                left = (before - target) * np.exp(-np.maximum(time_s - start, 0.0) / lag)
                left[np.abs(left) < self.GONE] = 0.0
            else:
                left = 0.0
            value = np.where(since, target + left, value)
        return value

    def any_open(self, start_s: float, stop_s: float) -> bool:
        """Whether it turns at any time within [start, stop]."""
        starts = [p[0] for p in self._pieces if start_s <= p[0] <= stop_s and p[2] > 0.0]
        return bool(starts or np.any(self.at(np.array([start_s, stop_s])) > 0.0))

    def forget_before(self, time_s: float) -> None:
        """Drop history older than this [s]."""
        keep = max(bisect.bisect_right([p[0] for p in self._pieces], time_s) - 1, 0)
        self._pieces = self._pieces[keep:]


class SetPoint:
    """A value commanded in steps over time. Commands must come in time order."""

    def __init__(self, value: float = 0.0) -> None:
        self._times = [LONG_AGO_S]
        self._values = [value]
        self._arrays: tuple[Array, Array] | None = None

    def set(self, time_s: float, value: float) -> None:
        """Command a value at a time [s]."""
        self._times.append(time_s)
        self._values.append(value)
        self._arrays = None

    def at(self, time_s: Array) -> Array:
        """Return the values (N,) at times (N,) [s]."""
        if self._arrays is None:
            self._arrays = np.array(self._times), np.array(self._values)
        times, values = self._arrays
        return values[np.maximum(times.searchsorted(time_s, side="right") - 1, 0)]

    def forget_before(self, time_s: float) -> None:
        """Drop history older than this [s]."""
        keep = max(bisect.bisect_right(self._times, time_s) - 1, 0)
        self._times, self._values, self._arrays = self._times[keep:], self._values[keep:], None
