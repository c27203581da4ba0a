"""What nodes cost, and how many an account may have."""
