"""What an identity must be permitted, and whether it is."""
