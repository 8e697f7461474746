"""Flow or force follows the speed where the arm had to be slower than planned, so that what the stroke leaves stays.

Film and removal go with process value over speed: linearly for a gun, and for a pad by Preston's law, whose pressure
integrates to the force. Source of the idea: speed-dependent flow of paint robots (PROCESS.md section 2, step 6).
"""

from dataclasses import replace

import numpy as np

from cell_core.config import GrindToolConfig, GunConfig
from cell_core.toolpath import Stroke


def least_value(tool: GunConfig | GrindToolConfig) -> float | None:
    """Return the flow or force that the process value may fall to; None: it is fixed."""
    return tool.flow_min_m3_per_s if isinstance(tool, GunConfig) else tool.force_n.low


def compensated(run: Stroke, planned: Stroke, tool: GunConfig | GrindToolConfig) -> tuple[Stroke, float]:
    """Return the stroke as run with its process value scaled by run over planned speed, and the share left over.

    Args:
        run: the stroke at the speeds the arm keeps.
        planned: the same samples in the same order at the planned speeds.
        tool: its least flow or force bounds the scaling; a gun without `flow_min_m3_per_s` cannot be throttled.

    Returns:
        The stroke, switched off where less than half the least value is wanted, and the largest relative excess that
        remains at any sample with the process on (0: none).
    """
    ratio = np.minimum(run.speed_m_per_s / planned.speed_m_per_s, 1.0)
    low = least_value(tool)
    if low is None:
        value = planned.process_value
    else:
        value = np.maximum(planned.process_value * ratio, np.minimum(low, planned.process_value))
    wanted = planned.process_value * ratio
    # at a standstill the least flow would pile up: off is nearer to what is wanted than the least
    on = run.on & (wanted >= 0.5 * value)
    excess = np.divide(value - wanted, wanted, out=np.zeros_like(value), where=wanted > 0.0)
    return replace(run, process_value=value, on=on), float(np.max(excess[on], initial=0.0))
