"""What dwell at tool poses does to a surface."""
