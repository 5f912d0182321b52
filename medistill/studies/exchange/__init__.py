"""What sites would gain by exchanging distilled sets."""
