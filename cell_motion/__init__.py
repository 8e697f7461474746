"""Motion: inverse kinematics, collision, redundancy search, timing and transitions; backends embedded and moveit."""
