"""`cell arm`: make robot and cell files of a bare arm's URDF, and show the arm with its tools where it will work."""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from cell_operator.figures import save
from cell_operator.files import new_folder
from cell_operator.render import View, render_meshes
from robot_description import Cell, load_cell
from robot_description.arm_import import import_arm
from robot_description.scene import scene_colours, scene_meshes


def import_arm_files(args: argparse.Namespace, console: Console) -> int:
    """Write the folder of an arm, print what was found and assumed; return the exit code."""
    out = new_folder(args.out)
    made = import_arm(
        args.urdf, out, name=args.name, base=args.base, flange=args.flange, full_speed_s=args.full_speed_s
    )
    cell = load_cell(made.cell_path)
    cell_figure(cell, out / "arm.png")
    console.print(f"{cell.robot.config.name}: inverse kinematics {made.kinematics}")
    console.print(f"reach of the flange {made.reach_m:.2f} m; home {np.round(cell.robot.home_rad, 3).tolist()} rad")
    for note in made.notes:
        console.print(f"note: {note}")
    console.print(f"written to {out}; use it with --cell {made.cell_path}")
    return 0


def cell_figure(cell: Cell, path: Path) -> None:
    """Draw arm, tools and surroundings at home."""
    colours = scene_colours(cell)
    placed = []
    for name, vertices, triangles, T in scene_meshes(cell, cell.robot.home_rad):
        placed.append((vertices @ T[:3, :3].T + T[:3, 3], triangles, np.array(colours[name])))
    corners = np.concatenate([mesh[0] for mesh in placed])
    low, high = corners.min(axis=0), corners.max(axis=0)
    centre, size_m = 0.5 * (low + high), float(np.linalg.norm(high - low))
    view = View(
        eye_m=centre + 1.6 * size_m * np.array([0.55, -0.70, 0.38]), target_m=centre, up=np.array([0.0, 0.0, 1.0])
    )
    figure = Figure(figsize=(7.2, 4.8))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.imshow(render_meshes(placed, view).rgb)
    axes.set_axis_off()
    save(figure, path)
