"""What RViz shows of a job: the part's mesh, the strokes, thickness or removal in colours, the scan as a cloud."""

import array
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import Point
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from cell_core.meshes.decimate import clustered
from cell_core.surface import Surface
from cell_core.toolpath import ToolPath

FRAME = "part"
COLOURED_TRIANGLES_MAX = 20_000


def _marker(kind: int, namespace: str, number: int, rgba: tuple[float, float, float, float], scale_m: float) -> Marker:
    marker = Marker(ns=namespace, id=number, type=kind, action=Marker.ADD, frame_locked=True)
    marker.header.frame_id = FRAME
    marker.pose.orientation.w = 1.0
    marker.scale.x = marker.scale.y = marker.scale.z = scale_m
    marker.color = ColorRGBA(r=rgba[0], g=rgba[1], b=rgba[2], a=rgba[3])
    return marker


def part_markers(ply: Path) -> MarkerArray:
    """Return the part's mesh, its file embedded in the message."""
    marker = _marker(Marker.MESH_RESOURCE, "part", 0, (0.75, 0.75, 0.78, 1.0), 1.0)
    marker.mesh_resource = f"embedded://{ply.name}"
    marker.mesh_file.filename = ply.name
    marker.mesh_file.data = array.array("B", ply.read_bytes())
    return MarkerArray(markers=[marker])


def stroke_markers(toolpath: ToolPath) -> MarkerArray:
    """Return one line per stroke at the tool centre point: blue where the process is on, grey where it is off."""
    on, off = ColorRGBA(r=0.1, g=0.4, b=0.9, a=1.0), ColorRGBA(r=0.6, g=0.6, b=0.6, a=0.6)
    markers = []
    for k, stroke in enumerate(toolpath.strokes):
        marker = _marker(Marker.LINE_STRIP, "strokes", k, (0.1, 0.4, 0.9, 1.0), 0.002)
        marker.points = [Point(x=x, y=y, z=z) for x, y, z in stroke.position_m.tolist()]
        marker.colors = [on if value else off for value in stroke.on.tolist()]
        markers.append(marker)
    return MarkerArray(markers=[Marker(action=Marker.DELETEALL), *markers])


def change_markers(surface: Surface, change_m: Any, high_m: float) -> MarkerArray:
    """Return the surface coloured by what was or will be changed: blue at 0, green at the target, red at twice.

    Values that are not finite were not measured and are shown as 0.
    """
    small = clustered(surface.with_fields(change_m=np.nan_to_num(change_m)), COLOURED_TRIANGLES_MAX)
    marker = _marker(Marker.TRIANGLE_LIST, "change", 0, (1.0, 1.0, 1.0, 1.0), 1.0)
    corners = small.triangles.ravel()
    u = np.clip(small.fields["change_m"] / (2.0 * high_m), 0.0, 1.0)
    red, green, blue = np.clip(2.0 * u - 1.0, 0, 1), 1.0 - np.abs(2.0 * u - 1.0), np.clip(1.0 - 2.0 * u, 0, 1)
    colours = [ColorRGBA(r=r, g=g, b=b, a=1.0) for r, g, b in np.stack([red, green, blue], 1).tolist()]
    points = [Point(x=x, y=y, z=z) for x, y, z in small.vertices_m.tolist()]
    marker.points = [points[i] for i in corners.tolist()]
    marker.colors = [colours[i] for i in corners.tolist()]
    return MarkerArray(markers=[marker])


def cloud_message(surface: Surface, stamp: Any) -> PointCloud2:
    """Return the surface's vertices with normals as a cloud of floats."""
    names = ("x", "y", "z", "normal_x", "normal_y", "normal_z")
    table = np.concatenate([surface.vertices_m, surface.vertex_normals], axis=1).astype("<f4")
    fields = [PointField(name=n, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, n in enumerate(names)]
    message = PointCloud2(
        height=1,
        width=len(table),
        fields=fields,
        is_bigendian=False,
        point_step=4 * len(names),
        row_step=4 * len(names) * len(table),
        data=array.array("B", table.tobytes()),
        is_dense=True,
    )
    message.header.stamp, message.header.frame_id = stamp, FRAME
    return message
