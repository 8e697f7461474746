"""Robot description and transforms from joint states, for distributions that bring no robot_state_publisher."""

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from cell_core.transforms import Array
from cell_nodes.messages import transform_message
from cell_nodes.node_base import LATCHED, STREAM, CellNode, run_node
from robot_description import Cell, load_cell
from robot_description.gazebo import robot_urdf
from robot_description.model import joint_motion

RATE_HZ = 50.0
PART_FRAME = "part"


class RobotStatePublisherNode(CellNode):
    """Publishes /robot_description, /tf and /tf_static."""

    def __init__(self, **options) -> None:
        super().__init__("robot_state_publisher", **options)
        self._cell: Cell | None = None
        self._latest: JointState | None = None
        self._sent_stamp = (-1, 0)
        self._description = self.create_publisher(String, "/robot_description", LATCHED)
        self._tf = self.create_publisher(TFMessage, "/tf", STREAM)
        self._tf_static = self.create_publisher(TFMessage, "/tf_static", LATCHED)
        self.create_subscription(JointState, "/joint_states", self._keep, 1)
        self.create_wall_timer(1.0 / RATE_HZ, self._publish)

    def configure(self) -> None:
        """Load the cell."""
        self._cell = load_cell(self.string("cell"))

    def activate(self) -> None:
        """Publish what never changes."""
        assert self._cell is not None
        robot = self._cell.robot
        self._description.publish(String(data=robot_urdf(self._cell)))
        stamp = self.get_clock().now().to_msg()
        fixed = [
            transform_message(joint.T_parent_joint, joint.parent, joint.child, stamp)
            for joint in robot.tree.joints
            if joint.name not in robot.joint_names
        ]
        fixed.append(transform_message(self._cell.T_base_fixture, robot.config.base_frame, PART_FRAME, stamp))
        self._tf_static.publish(TFMessage(transforms=fixed))

    def _keep(self, message: JointState) -> None:
        self._latest = message

    def _publish(self) -> None:
        message = self._latest
        if not self.is_active or message is None or self._cell is None:
            return
        stamp = (message.header.stamp.sec, message.header.stamp.nanosec)
        if stamp == self._sent_stamp:
            return
        self._sent_stamp = stamp
        self._tf.publish(TFMessage(transforms=moving_transforms(self._cell, message)))


def moving_transforms(cell: Cell, message: JointState) -> list:
    """Return one transform per moving joint named in a joint state."""
    tree = cell.robot.tree
    transforms = []
    for name, value in zip(message.name, message.position, strict=True):
        joint = tree.joint.get(name)
        if joint is not None and np.isfinite(value):
            T: Array = joint.T_parent_joint @ joint_motion(joint, value)
            transforms.append(transform_message(T, joint.parent, joint.child, message.header.stamp))
    return transforms


def main() -> None:
    """Run the node."""
    run_node(RobotStatePublisherNode)


if __name__ == "__main__":
    main()
