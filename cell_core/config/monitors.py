"""Monitors of an execution: limit, reaction and reset rule of each, from config/monitors."""

from typing import Literal

from cell_core.config.base import Fraction, NonNegative, Positive, Strict


class Watched(Strict):
    """Something that is so or not."""

    hold_s: NonNegative
    """How long it must be so, or the limit be passed, without a break [s]."""
    reaction: Literal["stop", "pause"]
    """stop: process off, controlled stop, a fault; pause: process off, stop, retract, to be resumed."""
    reset: Literal["goal", "operator"]
    """goal: the next goal may start once the condition is gone; operator: only after reset_monitors was called."""


class Monitor(Watched):
    """One quantity that is watched."""

    limit: Positive
    """In the unit that the monitor's name ends with."""


class ShareMonitor(Monitor):
    """One whose limit is a share of something."""

    limit: Fraction


class MonitorsConfig(Strict):
    """config/monitors: what an execution watches."""

    format: Literal["grind_spray_cell/monitors"]
    version: Literal[1]
    name: str
    tracking_error_rad: Monitor
    """Largest distance of a joint from its trajectory."""
    joint_state_age_s: Monitor
    """Wall time since the last joint state."""
    tool_state_age_s: Monitor
    """Wall time since the last tool state, while a process runs."""
    heartbeat_age_s: Monitor
    """Wall time since the last heartbeat of a required node."""
    joint_jump_rad: Monitor
    """How much farther a joint moved between two joint states than its speed limit allows."""
    disarmed: Watched
    """The tool says that it is not armed, and nobody disarmed it here."""
    not_on: Watched
    """The tool is off where the path has it on."""
    force_error_n: Monitor
    """Contact force off its set-point, while it is to press."""
    contact_lost_share: ShareMonitor
    """Least contact force over its set-point, while it is to press."""
    spindle_share: ShareMonitor
    """Least spindle speed over the nominal one, while it is to press."""
    valve_share: ShareMonitor
    """Least flow over the gun's own, while it is on."""
    valve_leak_share: ShareMonitor
    """Largest flow over the gun's own, while it is off."""
