"""A simulated EC2 whose instances are real SSH nodes: unkind where AWS is, and it bills."""
