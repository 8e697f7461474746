"""Meshes made sound and fit for a process."""
