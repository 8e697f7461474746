"""The embedded simulator: arm, depth camera, spray and grinding on a true part, by models of its own."""

from cell_simulation.camera import DepthFrame
from cell_simulation.cell import SimulatedCell
from cell_simulation.predict import predict
from cell_simulation.tool_parameters import ToolErrors
from cell_simulation.tools import ToolState

__all__ = ["DepthFrame", "SimulatedCell", "ToolErrors", "ToolState", "predict"]
