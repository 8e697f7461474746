"""Names shared by nodes and supervisor; importable without ROS."""

NAMESPACE = "/cell"
SUPERVISOR_PID = "CELL_SUPERVISOR_PID"

WORKERS = ("scan", "grinding_planner", "spray_planner", "motion", "execution", "inspection", "job", "recorder")
EMBEDDED = ("simulator", "robot_state_publisher")
NODES = (*EMBEDDED, *WORKERS)

UNCONFIGURED_STATE_ID = 1
INACTIVE_STATE_ID = 2
ACTIVE_STATE_ID = 3
FINALIZED_STATE_ID = 4
